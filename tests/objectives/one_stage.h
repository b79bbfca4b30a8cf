#pragma once
#include "objectives/objectives.h"

namespace moebius::test {

/// Supervised fine-tuning on a single stage, micro batch by micro batch.
class OneStage {
 public:
  explicit OneStage(models::Decoder<HostFp32>& decoder)
      : passes_(decoder, {.slots = slots_, .pending = pending_, .messages = messages_}) {}

  objectives::QueuedResult train(const data::MicroBatch& batch, std::int64_t trained_tokens,
                                 const models::Shards<float, Space::host>& gradients) {
    sft_.begin({&batch, 1}, {.trained = trained_tokens});
    return passes_.train({.schedule = schedule_,
                          .batches = {&batch, 1},
                          .objective = sft_,
                          .coefficients = {},
                          .gradients = gradients})[0];
  }
  double loss_sum(const data::MicroBatch& batch) {
    sft_.begin({&batch, 1}, {});
    return loss_sum(passes_.evaluate({&batch, 1})[0]);
  }
  [[nodiscard]] double loss_sum(const objectives::QueuedResult& queued) const {
    std::vector<double> measured;
    sft_.measure(0, queued.predictions.value(), measured);
    return sft_.totals(measured)[0];
  }

 private:
  ArenaSlots<Space::host> slots_{"activations", 1}, pending_{"pending", 0};
  Arena<Space::host> messages_{"messages"};
  parallel::PipelineSchedule schedule_ = parallel::make_schedule(parallel::ScheduleKind::one_f_one_b, {});
  objectives::Sft<HostFp32> sft_;
  objectives::Passes<HostFp32> passes_;
};

}  // namespace moebius::test
