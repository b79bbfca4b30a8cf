#include <algorithm>

#include "parallel/device/copy.h"
#include "parallel/exchange.h"

namespace moebius::parallel {
namespace {

class LocalDeviceExchange final : public Exchange<Space::device> {
 public:
  [[nodiscard]] const Mesh& mesh() const override { return mesh_; }
  [[nodiscard]] Traffic traffic(Axis) const override { return {}; }

  void swap_counts(Call, std::span<const std::int64_t> sent, std::span<std::int64_t> received) override {
    std::copy(sent.begin(), sent.end(), received.begin());
  }

 private:
  void reduce(Call, InPlace, Reduction, Queue<Space::device>) override {}
  void gather(Call, Values part, void* whole, Queue<Space::device> queue) override {
    copy_on_device(part.data, whole, part.count * size_of(part.dtype), queue);
  }
  void scatter_sum(Call, Values whole, void* part, Queue<Space::device> queue) override {
    copy_on_device(whole.data, part, whole.count * size_of(whole.dtype), queue);
  }
  void swap_rows(Call, const RowSwap& swap, Queue<Space::device> queue) override {
    copy_on_device(swap.send.data, swap.receive, swap.send.count * size_of(swap.send.dtype), queue);
  }
  Pending<Space::device> start(Call, const MessagePair& messages, Queue<Space::device> queue) override {
    const auto& [data, count, dtype] = messages.sent;
    copy_on_device(data, messages.received.data, count * size_of(dtype), queue);
    return {};
  }
  Pending<Space::device> start_swap(Call call, const RowSwap& swap, Queue<Space::device> queue) override {
    swap_rows(call, swap, queue);
    return {};
  }

  Mesh mesh_;
};

}  // namespace

template <>
std::unique_ptr<Exchange<Space::device>> make_local_exchange() {
  return std::make_unique<LocalDeviceExchange>();
}

}  // namespace moebius::parallel
