// oneDAL's gradient boosting prediction in C++, one thread. The model is the archive that daal4py
// made of it, since only daal4py converts other libraries' models.
// Arguments: the archive.

#include "harness.hpp"

#include <daal.h>

#include <fstream>
#include <iterator>

namespace {

namespace prediction = daal::algorithms::gbt::classification::prediction;
namespace classifier = daal::algorithms::classifier;
using daal::algorithms::gbt::classification::Model;
using daal::algorithms::gbt::classification::ModelPtr;
using daal::data_management::HomogenNumericTable;
using daal::data_management::NumericTablePtr;

constexpr std::size_t kClasses = 2;

void check(const daal::services::Status& status) {
    if (!status.ok()) {
        throw std::runtime_error(status.getDescription());
    }
}

NumericTablePtr table(float* values, std::size_t columns, std::size_t rows) {
    daal::services::Status status;
    auto made = HomogenNumericTable<float>::create(values, columns, rows, &status);
    check(status);
    return made;
}

class OneDal : public Engine {
  public:
    OneDal(const Rows& rows, const std::string& path) : rows_(rows), batch_(kClasses) {
        daal::services::Environment::getInstance()->setNumberOfThreads(1);
        std::ifstream file(path, std::ios::binary);
        std::vector<daal::byte> bytes{std::istreambuf_iterator<char>(file), {}};
        daal::data_management::OutputDataArchive archive(bytes.data(), bytes.size());
        daal::services::Status status;
        ModelPtr model = Model::create(kFeatures, &status);
        check(status);
        model->deserialize(archive);
        batch_.input.set(classifier::prediction::model, model);
        batch_.parameter().nClasses = kClasses;
        batch_.parameter().resultsToEvaluate = classifier::computeClassProbabilities;
    }

    // One table over each slice of rows, and one for the results, so that a call only computes.
    void prepare(std::size_t count) override {
        slices_.clear();
        for (std::size_t first = 0; first + count <= rows_.count(); first += count) {
            slices_.push_back(table(const_cast<float*>(rows_.floats(first)), kFeatures, count));
        }
        results_.assign(count * kClasses, 0.0F);
        prediction::ResultPtr result(new prediction::Result);
        result->set(prediction::probabilities, table(results_.data(), kClasses, count));
        check(batch_.setResult(result));
    }

    void call(std::size_t first, std::size_t count) override {
        batch_.input.set(classifier::prediction::data, slices_[first / count]);
        check(batch_.computeNoThrow());
    }

    double result(std::size_t row) const override { return results_[row * kClasses + 1]; }

  private:
    const Rows& rows_;
    prediction::Batch<float> batch_;
    std::vector<NumericTablePtr> slices_;
    std::vector<float> results_;
};

} // namespace

std::unique_ptr<Engine> open_engine(const Rows& rows, const std::vector<std::string>& arguments) {
    return std::make_unique<OneDal>(rows, arguments.at(0));
}
