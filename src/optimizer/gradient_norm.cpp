#include "optimizer/gradient_norm.h"

#include "kernels/update/sum_of_squares.h"

namespace moebius::optimizer {

template <class G, Space S>
void add_squares(const models::Shards<G, S>& gradients, parallel::Exchange<S>& exchange,
                 View<double, 1, S> sum, Queue<S> queue) {
  const models::ShardLayout& layout = gradients.layout();
  for (std::size_t index = 0; index < layout.count(); ++index) {
    if (layout.row(index).owned)
      kernels::sum_of_squares(kernels::SumOfSquares<G, S>{.x = gradients[index], .sum = sum}, queue);
  }
  exchange.template all_reduce<double>({models::Axis::world, "gradient norm"}, sum, parallel::Reduction::sum,
                                       queue);
}

template void add_squares(const models::Shards<float, Space::host>&, parallel::Exchange<Space::host>&,
                          View<double, 1, Space::host>, Queue<Space::host>);
#if MOEBIUS_CUDA
template void add_squares(const models::Shards<float, Space::device>&, parallel::Exchange<Space::device>&,
                          View<double, 1, Space::device>, Queue<Space::device>);
template void add_squares(const models::Shards<bf16, Space::device>&, parallel::Exchange<Space::device>&,
                          View<double, 1, Space::device>, Queue<Space::device>);
#endif

}  // namespace moebius::optimizer
