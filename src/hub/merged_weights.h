#pragma once
#include <memory>

#include "hub/weights.h"
#include "models/adapter.h"

namespace moebius::hub {

/// The parameters of a model with an adapter taken in: w + scale * b a in place of w, summed in fp32. What is
/// read of an adapted parameter is fp32, whatever type it is stored in; others are as they are stored.
class MergedWeights final : public WeightSource {
 public:
  /// `adapter`: of models::adapter_table(model->table(), settings).
  MergedWeights(std::unique_ptr<WeightSource> model, std::unique_ptr<WeightSource> adapter,
                const models::AdapterSettings& settings);

  [[nodiscard]] const models::ParameterTable& table() const override { return model_->table(); }
  /// Of the model.
  [[nodiscard]] Dtype stored_dtype(std::size_t parameter) const override {
    return model_->stored_dtype(parameter);
  }
  /// Memory: the factors of one parameter besides.
  void read(std::span<const models::Slab> wanted, const checkpoint::SlabSink& sink) const override;
  [[nodiscard]] std::vector<std::string> warnings() const override { return model_->warnings(); }

 private:
  /// Rows of the adapter's table beside one parameter's.
  struct Pair {
    std::size_t a, b;
    std::int64_t part;  // which of the modules in the parameter
  };
  struct Factors {
    std::int64_t part;
    std::vector<float> a, b;  // whole rows
  };
  [[nodiscard]] std::vector<Factors> load(std::size_t parameter) const;
  [[nodiscard]] std::vector<float> load_row(std::size_t row) const;
  void add(std::size_t parameter, const models::Slab& slab, const std::vector<Factors>& factors,
           std::vector<float>& elements) const;

  std::unique_ptr<WeightSource> model_, adapter_;
  std::vector<std::vector<Pair>> pairs_;  // [parameters]
  std::int64_t rank_;
  float scale_;
};

}  // namespace moebius::hub
