// ydf's standalone C++ of a model, compiled in: EXPORTED is its header. A function of one row.

#include "harness.hpp"

#include EXPORTED

#include <cstring>

namespace {

using ydf_standalone::Instance;
using ydf_standalone::Predict;

// The instance's members are the features in order, all of them floats.
static_assert(sizeof(Instance) == kFeatures * sizeof(float));

class Ydf : public Engine {
  public:
    explicit Ydf(const Rows& rows) : rows_(rows) {}

    void prepare(std::size_t count) override { results_.assign(count, 0.0F); }

    void call(std::size_t first, std::size_t count) override {
        for (std::size_t row = 0; row < count; ++row) {
            Instance instance;
            std::memcpy(static_cast<void*>(&instance), rows_.floats(first + row), sizeof(instance));
            results_[row] = Predict(instance);
        }
    }

    double result(std::size_t row) const override { return results_[row]; }

  private:
    const Rows& rows_;
    std::vector<float> results_;
};

} // namespace

std::unique_ptr<Engine> open_engine(const Rows& rows, const std::vector<std::string>&) {
    return std::make_unique<Ydf>(rows);
}
