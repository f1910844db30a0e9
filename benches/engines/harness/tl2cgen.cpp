// C code that tl2cgen wrote and gcc compiled, in a shared library: a function of one row.
// Arguments: the shared library.

#include "harness.hpp"

#include <cstring>

namespace {

// `union Entry` is as wide as the thresholds, and a row's values can stand in it as they are: its
// missing mark, -1, is a NaN's bits.
using TypeName = const char*();
template <typename Value> using Predict = void(const Value*, int, Value*);

constexpr int kProbability = 0;

template <typename Value> class Compiled : public Engine {
  public:
    Compiled(std::vector<Value> const& values, const Library& library)
        : values_(values), predict_(library.symbol<Predict<Value>>("predict")) {}

    void prepare(std::size_t count) override { results_.assign(count, 0); }

    void call(std::size_t first, std::size_t count) override {
        for (std::size_t row = 0; row < count; ++row) {
            results_[row] = 0;
            predict_(values_.data() + (first + row) * kFeatures, kProbability, &results_[row]);
        }
    }

    double result(std::size_t row) const override { return results_[row]; }

  private:
    const std::vector<Value>& values_;
    Predict<Value>* predict_;
    std::vector<Value> results_;
};

} // namespace

std::unique_ptr<Engine> open_engine(const Rows& rows, const std::vector<std::string>& arguments) {
    const Library library(arguments.at(0));
    const std::string thresholds = library.symbol<TypeName>("get_threshold_type")();
    if (thresholds != library.symbol<TypeName>("get_leaf_output_type")()) {
        throw std::runtime_error("thresholds and leaves of different types");
    }
    if (thresholds == "float64") {
        return std::make_unique<Compiled<double>>(rows.f64, library);
    }
    return std::make_unique<Compiled<float>>(rows.f32, library);
}
