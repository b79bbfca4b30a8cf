#include "optimizer/gradient_norm.h"

#include "kernels/update/sum_of_squares.h"

namespace moebius::optimizer {

template <class G, Space S>
void add_squares(const GradientSquares<G, S>& op, parallel::Exchange<S>& exchange, Queue<S> queue) {
  const models::ShardLayout& layout = op.gradients.layout();
  const View<G, 1, S> flat = op.gradients.flat();
  for (std::size_t index = 0; index < layout.count(); ++index) {
    if (!op.ownership.stands_for(index)) continue;
    const auto& row = layout.row(index);
    for (const auto& [owned, place] : op.ownership.owned({row.offset, row.offset + row.size})) {
      kernels::sum_of_squares(
          kernels::SumOfSquares<G, S>{.x = flat.slice(owned.begin, owned.size()), .sum = op.sum}, queue);
    }
  }
  exchange.template all_reduce<double>({models::Axis::world, "gradient norm"}, op.sum,
                                       parallel::Reduction::sum, queue);
}

template void add_squares(const GradientSquares<float, Space::host>&, parallel::Exchange<Space::host>&,
                          Queue<Space::host>);
#if MOEBIUS_CUDA
template void add_squares(const GradientSquares<float, Space::device>&, parallel::Exchange<Space::device>&,
                          Queue<Space::device>);
template void add_squares(const GradientSquares<bf16, Space::device>&, parallel::Exchange<Space::device>&,
                          Queue<Space::device>);
#endif

}  // namespace moebius::optimizer
