// What a family of engines implements to be measured, and what it may use.
#pragma once

#include <cstddef>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

constexpr std::size_t kFeatures = 30;

// The measured rows, row-major, in both widths: the same values.
struct Rows {
    std::vector<float> f32;
    std::vector<double> f64;

    std::size_t count() const { return f32.size() / kFeatures; }
    const float* floats(std::size_t row) const { return f32.data() + row * kFeatures; }
    const double* doubles(std::size_t row) const { return f64.data() + row * kFeatures; }
};

// A loaded model. Calls read `count` rows from `first` on, which is a multiple of `count`, and leave
// the probabilities of the positive class in a buffer of the engine's own kind.
class Engine {
  public:
    virtual ~Engine() = default;
    // Before calls of `count` rows: buffers, bindings. Not measured.
    virtual void prepare(std::size_t count) = 0;
    virtual void call(std::size_t first, std::size_t count) = 0;
    // The probability of the last call's row `row`.
    virtual double result(std::size_t row) const = 0;
};

// Defined once per family; `arguments` are the command line's after the rows' folder.
std::unique_ptr<Engine> open_engine(const Rows& rows, const std::vector<std::string>& arguments);

// A shared library, open until the process ends.
class Library {
  public:
    explicit Library(const std::string& path);

    template <typename Function> Function* symbol(const char* name) const {
        return reinterpret_cast<Function*>(find(name));
    }

  private:
    void* find(const char* name) const;
    void* handle_;
};
