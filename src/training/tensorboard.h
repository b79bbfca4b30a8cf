#pragma once
#include <filesystem>
#include <fstream>

#include "training/metrics.h"

namespace moebius::training {

/// Scalars for TensorBoard: a TFRecord file of Event messages (tensorflow/core/util/event.proto), written by
/// hand because the five fields it needs do not justify protobuf.
class TensorBoardFile {
 public:
  /// A new file in `folder` (made where missing). Its session starts behind `last_iteration`: TensorBoard
  /// then hides what earlier files of a resumed run hold beyond that.
  TensorBoardFile(const std::filesystem::path& folder, std::int64_t last_iteration);
  void append(const Metrics& metrics);

 private:
  void write_event(std::int64_t step, const std::string& payload);
  std::ofstream stream_;
};

}  // namespace moebius::training
