// libxgboost's C API: XGBoosterPredictFromDense on a reused proxy, its cheapest path.
// Arguments: libxgboost.so, model.json.

#include "harness.hpp"

#include <cstdint>
#include <cstring>

namespace {

using Handle = void*;
using BoosterCreate = int(const Handle*, std::uint64_t, Handle*);
using BoosterLoadModel = int(Handle, const char*);
using BoosterSetParam = int(Handle, const char*, const char*);
using ProxyCreate = int(Handle*);
using PredictFromDense = int(Handle, const char*, const char*, Handle, const std::uint64_t**,
                             std::uint64_t*, const float**);
using LastError = const char*();

constexpr const char* kConfig =
    R"({"type":0,"training":false,"iteration_begin":0,"iteration_end":0,"missing":NaN,"strict_shape":false})";

class Xgboost : public Engine {
  public:
    Xgboost(const Rows& rows, const std::string& library, const std::string& model)
        : rows_(rows), library_(library) {
        check(library_.symbol<BoosterCreate>("XGBoosterCreate")(nullptr, 0, &booster_));
        check(library_.symbol<BoosterLoadModel>("XGBoosterLoadModel")(booster_, model.c_str()));
        check(library_.symbol<BoosterSetParam>("XGBoosterSetParam")(booster_, "nthread", "1"));
        check(library_.symbol<ProxyCreate>("XGProxyDMatrixCreate")(&proxy_));
        predict_ = library_.symbol<PredictFromDense>("XGBoosterPredictFromDense");
    }

    // The array interface is text: it is written beforehand, one for each slice of rows.
    void prepare(std::size_t count) override {
        slices_.clear();
        for (std::size_t first = 0; first + count <= rows_.count(); first += count) {
            const auto address = reinterpret_cast<std::uintptr_t>(rows_.floats(first));
            slices_.push_back("{\"data\":[" + std::to_string(address) + ",true],\"shape\":[" +
                              std::to_string(count) + "," + std::to_string(kFeatures) +
                              "],\"typestr\":\"<f4\",\"version\":3}");
        }
    }

    void call(std::size_t first, std::size_t count) override {
        const std::uint64_t* shape = nullptr;
        std::uint64_t dimensions = 0;
        check(predict_(booster_, slices_[first / count].c_str(), kConfig, proxy_, &shape,
                       &dimensions, &results_));
    }

    double result(std::size_t row) const override { return results_[row]; }

  private:
    void check(int code) const {
        if (code != 0) {
            throw std::runtime_error(library_.symbol<LastError>("XGBGetLastError")());
        }
    }

    const Rows& rows_;
    Library library_;
    Handle booster_ = nullptr;
    Handle proxy_ = nullptr;
    PredictFromDense* predict_ = nullptr;
    std::vector<std::string> slices_;
    const float* results_ = nullptr;
};

} // namespace

std::unique_ptr<Engine> open_engine(const Rows& rows, const std::vector<std::string>& arguments) {
    return std::make_unique<Xgboost>(rows, arguments.at(0), arguments.at(1));
}
