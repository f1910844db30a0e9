// treelite's general-purpose inference (GTIL) by its C API, one thread.
// Arguments: libtreelite.so, model file (.json: XGBoost's; .txt: LightGBM's).

#include "harness.hpp"

#include <cstdint>
#include <cstring>

namespace {

using Handle = void*;
using LoadModel = int(const char*, const char*, Handle*);
using ParseConfig = int(const char*, Handle*);
using GetType = int(Handle, const char**);
using Predict = int(Handle, const void*, const char*, std::uint64_t, void*, Handle);
using LastError = const char*();

class Treelite : public Engine {
  public:
    Treelite(const Rows& rows, const std::string& library, const std::string& model)
        : rows_(rows), library_(library) {
        const bool xgboost = model.size() > 5 && model.compare(model.size() - 5, 5, ".json") == 0;
        const char* load = xgboost ? "TreeliteLoadXGBoostModelJSON" : "TreeliteLoadLightGBMModel";
        check(library_.symbol<LoadModel>(load)(model.c_str(), "{}", &model_));
        check(library_.symbol<ParseConfig>("TreeliteGTILParseConfig")(
            R"({"predict_type":"default","nthread":1})", &config_));
        const char* type = nullptr;
        check(library_.symbol<GetType>("TreeliteGetInputType")(model_, &type));
        type_ = type;
        predict_ = library_.symbol<Predict>("TreeliteGTILPredict");
    }

    void prepare(std::size_t count) override {
        floats_.assign(count, 0.0F);
        doubles_.assign(count, 0.0);
    }

    void call(std::size_t first, std::size_t count) override {
        const bool wide = type_ == "float64";
        const void* rows = wide ? static_cast<const void*>(rows_.doubles(first)) : rows_.floats(first);
        void* out = wide ? static_cast<void*>(doubles_.data()) : floats_.data();
        check(predict_(model_, rows, type_.c_str(), count, out, config_));
    }

    double result(std::size_t row) const override {
        return type_ == "float64" ? doubles_[row] : floats_[row];
    }

  private:
    void check(int code) const {
        if (code != 0) {
            throw std::runtime_error(library_.symbol<LastError>("TreeliteGetLastError")());
        }
    }

    const Rows& rows_;
    Library library_;
    Handle model_ = nullptr;
    Handle config_ = nullptr;
    std::string type_;
    Predict* predict_ = nullptr;
    std::vector<float> floats_;
    std::vector<double> doubles_;
};

} // namespace

std::unique_ptr<Engine> open_engine(const Rows& rows, const std::vector<std::string>& arguments) {
    return std::make_unique<Treelite>(rows, arguments.at(0), arguments.at(1));
}
