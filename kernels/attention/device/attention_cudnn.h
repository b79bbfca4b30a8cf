#pragma once
#include "kernels/attention/attention.h"

namespace moebius::kernels {

/// Whether the operation is one that cuDNN's kernels take, as far as the host can see; attention.h says what
/// else must hold. Shapes have been checked.
[[nodiscard]] bool suits_cudnn(const AttentionForward<bf16, Space::device>&);
[[nodiscard]] bool suits_cudnn(const AttentionBackward<bf16, Space::device>&);

/// For operations that suit. The first call with new sizes prepares a plan (about 50 ms on the host, a second
/// for the first of all), kept with the device.
void attention_forward_cudnn(const AttentionForward<bf16, Space::device>&, Queue<Space::device>);
void attention_backward_cudnn(const AttentionBackward<bf16, Space::device>&, Queue<Space::device>);

}  // namespace moebius::kernels
