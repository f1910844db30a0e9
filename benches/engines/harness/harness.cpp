// The measuring loop that all compiled engines share. It loads the engine, says so in one line of
// JSON, and then obeys standard input:
//   time ROWS MILLISECONDS   calls of ROWS rows, ever other ones; answers ns per row, one per block
//   write PATH ROWS          writes the probabilities of the first ROWS rows as f64
// Everything else a library prints goes to standard error.

#include "harness.hpp"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <dlfcn.h>
#include <fstream>
#include <iostream>
#include <malloc.h>
#include <sstream>
#include <unistd.h>

namespace {

// Processor time of the whole process: other processes do not count, helper threads do.
std::chrono::nanoseconds used() {
    timespec now{};
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return std::chrono::seconds(now.tv_sec) + std::chrono::nanoseconds(now.tv_nsec);
}

// Rows per call while the engine's memory is measured and its answers are written.
constexpr std::size_t kWarmRows = 1000;
constexpr int kBlocks = 5;

template <typename T> std::vector<T> read_file(const std::string& path) {
    std::ifstream file(path, std::ios::binary | std::ios::ate);
    if (!file) {
        throw std::runtime_error("cannot read " + path);
    }
    std::vector<T> values(static_cast<std::size_t>(file.tellg()) / sizeof(T));
    file.seekg(0);
    file.read(reinterpret_cast<char*>(values.data()), values.size() * sizeof(T));
    return values;
}

// What the process holds in memory, code included, after giving back what is free.
long resident_bytes() {
    malloc_trim(0);
    std::ifstream statm("/proc/self/statm");
    long total = 0;
    long resident = 0;
    statm >> total >> resident;
    return resident * sysconf(_SC_PAGESIZE);
}

class Loop {
  public:
    Loop(Engine& engine, std::size_t total, std::size_t rows)
        : engine_(engine), total_(total), rows_(rows) {}

    // ns per row of `calls` calls.
    double block(long calls) {
        const auto start = used();
        for (long call = 0; call < calls; ++call) {
            if (next_ + rows_ > total_) {
                next_ = 0;
            }
            engine_.call(next_, rows_);
            next_ += rows_;
            // The results are in memory that the compiler must take for read.
            asm volatile("" ::: "memory");
        }
        return static_cast<double>((used() - start).count()) / static_cast<double>(calls * rows_);
    }

  private:
    Engine& engine_;
    std::size_t total_;
    std::size_t rows_;
    std::size_t next_ = 0;
};

std::string time_calls(Engine& engine, std::size_t total, std::size_t rows, double milliseconds) {
    engine.prepare(rows);
    Loop loop(engine, total, rows);
    const double block_ns = milliseconds * 1e6 / kBlocks;
    // Warms up and finds how many calls fill a block.
    long calls = 1;
    double call_ns = loop.block(calls) * rows;
    while (call_ns * calls < block_ns / 4) {
        calls *= 2;
        call_ns = loop.block(calls) * rows;
    }
    calls = std::max(1L, static_cast<long>(block_ns / call_ns));
    // Where a single call takes longer than all blocks should, few must do.
    const int blocks = call_ns > 2 * block_ns ? 2 : kBlocks;
    std::ostringstream answer;
    answer << '[';
    for (int block = 0; block < blocks; ++block) {
        answer << (block ? "," : "") << loop.block(calls);
    }
    answer << ']';
    return answer.str();
}

void write_results(Engine& engine, const std::string& path, std::size_t rows) {
    std::vector<double> results;
    engine.prepare(kWarmRows);
    for (std::size_t first = 0; first < rows; first += kWarmRows) {
        engine.call(first, kWarmRows);
        for (std::size_t row = 0; row < kWarmRows; ++row) {
            results.push_back(engine.result(row));
        }
    }
    std::ofstream file(path, std::ios::binary);
    file.write(reinterpret_cast<const char*>(results.data()), results.size() * sizeof(double));
}

void obey(Engine& engine, const Rows& rows, std::FILE* answers) {
    std::string line;
    while (std::getline(std::cin, line)) {
        std::istringstream words(line);
        std::string command;
        words >> command;
        if (command == "time") {
            std::size_t count = 0;
            double milliseconds = 0;
            words >> count >> milliseconds;
            const auto answer = time_calls(engine, rows.count(), count, milliseconds);
            std::fprintf(answers, "%s\n", answer.c_str());
        } else if (command == "write") {
            std::string path;
            std::size_t count = 0;
            words >> path >> count;
            write_results(engine, path, count);
            std::fprintf(answers, "{}\n");
        } else {
            throw std::runtime_error("no such command: " + line);
        }
        std::fflush(answers);
    }
}

void serve(int argc, char** argv, std::FILE* answers) {
    if (argc < 2) {
        throw std::runtime_error("usage: ENGINE ROWS-FOLDER ARGUMENT...");
    }
    const std::string folder = argv[1];
    const Rows rows{read_file<float>(folder + "/rows.f32"), read_file<double>(folder + "/rows.f64")};
    const long before = resident_bytes();
    const auto start = used();
    const auto engine = open_engine(rows, std::vector<std::string>(argv + 2, argv + argc));
    const double load_ms = static_cast<double>((used() - start).count()) / 1e6;
    engine->prepare(kWarmRows);
    for (std::size_t first = 0; first + kWarmRows <= rows.count(); first += kWarmRows) {
        engine->call(first, kWarmRows);
    }
    std::fprintf(answers, "{\"load_ms\":%.4f,\"memory_bytes\":%ld}\n", load_ms,
                 resident_bytes() - before);
    std::fflush(answers);
    obey(*engine, rows, answers);
}

} // namespace

Library::Library(const std::string& path) : handle_(dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL)) {
    if (handle_ == nullptr) {
        throw std::runtime_error(dlerror());
    }
}

void* Library::find(const char* name) const {
    void* address = dlsym(handle_, name);
    if (address == nullptr) {
        throw std::runtime_error(dlerror());
    }
    return address;
}

int main(int argc, char** argv) {
    std::FILE* answers = fdopen(dup(STDOUT_FILENO), "w");
    dup2(STDERR_FILENO, STDOUT_FILENO);
    try {
        serve(argc, argv, answers);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "%s\n", error.what());
        return 1;
    }
    return 0;
}
