// LightGBM's C API: the single-row fast path for one row, PredictForMat for more.
// Arguments: lib_lightgbm.so, model.txt.

#include "harness.hpp"

#include <cstdint>

namespace {

using Handle = void*;
using CreateFromFile = int(const char*, int*, Handle*);
using FastInit = int(Handle, int, int, int, int, std::int32_t, const char*, Handle*);
using PredictFast = int(Handle, const void*, std::int64_t*, double*);
using PredictForMat = int(Handle, const void*, int, std::int32_t, std::int32_t, int, int, int, int,
                          const char*, std::int64_t*, double*);
using LastError = const char*();

constexpr int kFloat64 = 1;
constexpr int kPredictNormal = 0;
constexpr int kAllIterations = -1;
constexpr int kRowMajor = 1;
constexpr const char* kParameters = "num_threads=1";

class LightGbm : public Engine {
  public:
    LightGbm(const Rows& rows, const std::string& library, const std::string& model)
        : rows_(rows), library_(library) {
        int iterations = 0;
        check(library_.symbol<CreateFromFile>("LGBM_BoosterCreateFromModelfile")(
            model.c_str(), &iterations, &booster_));
        check(library_.symbol<FastInit>("LGBM_BoosterPredictForMatSingleRowFastInit")(
            booster_, kPredictNormal, 0, kAllIterations, kFloat64, kFeatures, kParameters, &fast_));
        predict_fast_ = library_.symbol<PredictFast>("LGBM_BoosterPredictForMatSingleRowFast");
        predict_ = library_.symbol<PredictForMat>("LGBM_BoosterPredictForMat");
    }

    void prepare(std::size_t count) override { results_.assign(count, 0.0); }

    void call(std::size_t first, std::size_t count) override {
        std::int64_t written = 0;
        if (count == 1) {
            check(predict_fast_(fast_, rows_.doubles(first), &written, results_.data()));
        } else {
            check(predict_(booster_, rows_.doubles(first), kFloat64,
                           static_cast<std::int32_t>(count), kFeatures, kRowMajor, kPredictNormal,
                           0, kAllIterations, kParameters, &written, results_.data()));
        }
    }

    double result(std::size_t row) const override { return results_[row]; }

  private:
    void check(int code) const {
        if (code != 0) {
            throw std::runtime_error(library_.symbol<LastError>("LGBM_GetLastError")());
        }
    }

    const Rows& rows_;
    Library library_;
    Handle booster_ = nullptr;
    Handle fast_ = nullptr;
    PredictFast* predict_fast_ = nullptr;
    PredictForMat* predict_ = nullptr;
    std::vector<double> results_;
};

} // namespace

std::unique_ptr<Engine> open_engine(const Rows& rows, const std::vector<std::string>& arguments) {
    return std::make_unique<LightGbm>(rows, arguments.at(0), arguments.at(1));
}
