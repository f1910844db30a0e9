// The function that lleaves compiled, linked in as its cached object file.

#include "harness.hpp"

// Rows and results are f64, row-major; rows from `start` to before `end`.
extern "C" void forest_root(const double* rows, double* results, int start, int end);

namespace {

class Lleaves : public Engine {
  public:
    explicit Lleaves(const Rows& rows) : rows_(rows) {}

    void prepare(std::size_t count) override { results_.assign(count, 0.0); }

    void call(std::size_t first, std::size_t count) override {
        forest_root(rows_.doubles(first), results_.data(), 0, static_cast<int>(count));
    }

    double result(std::size_t row) const override { return results_[row]; }

  private:
    const Rows& rows_;
    std::vector<double> results_;
};

} // namespace

std::unique_ptr<Engine> open_engine(const Rows& rows, const std::vector<std::string>&) {
    return std::make_unique<Lleaves>(rows);
}
