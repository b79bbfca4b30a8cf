#pragma once
#include "kernels/attention/attention.h"

namespace moebius::kernels {

/// The device twins without cuDNN, for every operation that attention.h describes: tests compare with them.
template <class T>
void attention_forward_plain(const AttentionForward<T, Space::device>&, Queue<Space::device>);
template <class T>
void attention_backward_plain(const AttentionBackward<T, Space::device>&, Queue<Space::device>);

}  // namespace moebius::kernels
