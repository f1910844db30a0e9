// ONNX Runtime's C API, one thread. The wheel has no header, so the few entries used are named here
// by their place in OrtApi, a table of pointers that only ever grows at its end.
// Arguments: libonnxruntime.so, model.onnx (input `features` [rows, 30], output `probabilities`).

#include "harness.hpp"

#include <cstdint>

namespace {

using Status = void*;
using Handle = void*;

struct ApiBase {
    const void* const* (*get_api)(std::uint32_t version);
    const char* (*version)();
};

enum Entry : std::size_t {
    kGetErrorMessage = 2,
    kCreateEnv = 3,
    kCreateSession = 7,
    kRun = 9,
    kCreateSessionOptions = 10,
    kSetGraphOptimizationLevel = 23,
    kSetIntraOpThreads = 24,
    kCreateTensorWithData = 49,
    kCreateCpuMemoryInfo = 69,
    kReleaseValue = 96,
};

using GetErrorMessage = const char*(Status);
using CreateEnv = Status(int, const char*, Handle*);
using CreateSession = Status(Handle, const char*, Handle, Handle*);
using Run = Status(Handle, Handle, const char* const*, const Handle*, std::size_t,
                   const char* const*, std::size_t, Handle*);
using CreateSessionOptions = Status(Handle*);
using SetInt = Status(Handle, int);
using CreateTensorWithData = Status(Handle, void*, std::size_t, const std::int64_t*, std::size_t,
                                    int, Handle*);
using CreateCpuMemoryInfo = Status(int, int, Handle*);
using ReleaseValue = void(Handle);

// Present in every version since 1.16.
constexpr std::uint32_t kApiVersion = 16;
constexpr int kWarning = 2;
constexpr int kAllOptimizations = 99;
constexpr int kFloat = 1;
constexpr int kDeviceAllocator = 0;
constexpr int kDefaultMemory = 0;
constexpr std::int64_t kClasses = 2;
constexpr const char* kInput = "features";
constexpr const char* kOutput = "probabilities";

class OnnxRuntime : public Engine {
  public:
    OnnxRuntime(const Rows& rows, const std::string& library, const std::string& model)
        : rows_(rows), library_(library) {
        base_ = library_.symbol<const ApiBase*()>("OrtGetApiBase")();
        api_ = base_->get_api(kApiVersion);
        if (api_ == nullptr) {
            throw std::runtime_error("this ONNX Runtime has no such version of its API");
        }
        Handle environment = nullptr;
        Handle options = nullptr;
        check(entry<CreateEnv>(kCreateEnv)(kWarning, "engines", &environment));
        check(entry<CreateSessionOptions>(kCreateSessionOptions)(&options));
        check(entry<SetInt>(kSetIntraOpThreads)(options, 1));
        check(entry<SetInt>(kSetGraphOptimizationLevel)(options, kAllOptimizations));
        check(entry<CreateSession>(kCreateSession)(environment, model.c_str(), options, &session_));
        check(entry<CreateCpuMemoryInfo>(kCreateCpuMemoryInfo)(kDeviceAllocator, kDefaultMemory,
                                                               &memory_));
        run_ = entry<Run>(kRun);
    }

    // One input tensor over each slice of rows and one output tensor, so that a call only runs.
    void prepare(std::size_t count) override {
        for (Handle input : inputs_) {
            entry<ReleaseValue>(kReleaseValue)(input);
        }
        inputs_.clear();
        for (std::size_t first = 0; first + count <= rows_.count(); first += count) {
            inputs_.push_back(tensor(const_cast<float*>(rows_.floats(first)), count, kFeatures));
        }
        if (output_ != nullptr) {
            entry<ReleaseValue>(kReleaseValue)(output_);
        }
        results_.assign(count * kClasses, 0.0F);
        output_ = tensor(results_.data(), count, kClasses);
    }

    void call(std::size_t first, std::size_t count) override {
        check(run_(session_, nullptr, &kInput, &inputs_[first / count], 1, &kOutput, 1, &output_));
    }

    double result(std::size_t row) const override { return results_[row * kClasses + 1]; }

  private:
    template <typename Function> Function* entry(Entry at) const {
        return reinterpret_cast<Function*>(const_cast<void*>(api_[at]));
    }

    Handle tensor(float* values, std::size_t rows, std::int64_t width) const {
        const std::int64_t shape[] = {static_cast<std::int64_t>(rows), width};
        Handle value = nullptr;
        check(entry<CreateTensorWithData>(kCreateTensorWithData)(
            memory_, values, rows * width * sizeof(float), shape, 2, kFloat, &value));
        return value;
    }

    void check(Status status) const {
        if (status != nullptr) {
            throw std::runtime_error(entry<GetErrorMessage>(kGetErrorMessage)(status));
        }
    }

    const Rows& rows_;
    Library library_;
    const ApiBase* base_ = nullptr;
    const void* const* api_ = nullptr;
    Handle session_ = nullptr;
    Handle memory_ = nullptr;
    Run* run_ = nullptr;
    std::vector<Handle> inputs_;
    Handle output_ = nullptr;
    std::vector<float> results_;
};

} // namespace

std::unique_ptr<Engine> open_engine(const Rows& rows, const std::vector<std::string>& arguments) {
    return std::make_unique<OnnxRuntime>(rows, arguments.at(0), arguments.at(1));
}
