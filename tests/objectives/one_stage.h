#pragma once
#include "objectives/sft.h"

namespace moebius::test {

/// Supervised fine-tuning on a single stage, micro batch by micro batch.
class OneStage {
 public:
  using Sft = objectives::Sft<HostFp32>;
  explicit OneStage(models::Decoder<HostFp32>& decoder)
      : sft_(decoder, {.slots = slots_, .pending = pending_, .messages = messages_}) {}

  objectives::QueuedResult train(const data::MicroBatch& batch, std::int64_t trained_tokens,
                                 const models::Shards<float, Space::host>& gradients) {
    return sft_.train({.schedule = schedule_,
                       .batches = {&batch, 1},
                       .share = {.trained_tokens = trained_tokens, .coefficients = {}},
                       .gradients = gradients})[0];
  }
  double loss_sum(const data::MicroBatch& batch) { return loss_sum(sft_.evaluate({&batch, 1})[0]); }
  [[nodiscard]] double loss_sum(const objectives::QueuedResult& queued) const {
    return sft_.result(queued).loss_sum;
  }

 private:
  ArenaSlots<Space::host> slots_{"activations", 1}, pending_{"pending", 0};
  Arena<Space::host> messages_{"messages"};
  parallel::PipelineSchedule schedule_ = parallel::make_schedule(parallel::ScheduleKind::one_f_one_b, {});
  Sft sft_;
};

}  // namespace moebius::test
