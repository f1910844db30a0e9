// CatBoost's exported C++, compiled in: EXPORTED is its file. It answers raw scores from a vector of
// features; the logistic function is the caller's part.

#include "harness.hpp"

#include EXPORTED

#include <cmath>

namespace {

class CatBoost : public Engine {
  public:
    explicit CatBoost(const Rows& rows) : rows_(rows), row_(kFeatures) {}

    void prepare(std::size_t count) override { results_.assign(count, 0.0); }

    void call(std::size_t first, std::size_t count) override {
        for (std::size_t row = 0; row < count; ++row) {
            const float* values = rows_.floats(first + row);
            row_.assign(values, values + kFeatures);
            results_[row] = 1.0 / (1.0 + std::exp(-ApplyCatboostModel(row_)));
        }
    }

    double result(std::size_t row) const override { return results_[row]; }

  private:
    const Rows& rows_;
    std::vector<float> row_;
    std::vector<double> results_;
};

} // namespace

std::unique_ptr<Engine> open_engine(const Rows& rows, const std::vector<std::string>&) {
    return std::make_unique<CatBoost>(rows);
}
