#include "optimizer/gradient_norm.h"

#include <algorithm>
#include <cmath>

#include "kernels/update/sum_of_squares.h"

namespace moebius::optimizer {

template <Space S>
double gradient_norm(const models::Shards<float, S>& gradients, parallel::Exchange<S>& exchange,
                     Queue<S> queue) {
  static_assert(S == Space::host, "the sum is read here, so it lies in host memory");
  double sum = 0;
  const View<double, 1, S> view(&sum, {1});
  for (std::size_t index = 0; index < gradients.layout().count(); ++index) {
    if (gradients.layout().row(index).owned)
      kernels::sum_of_squares(kernels::SumOfSquares<S>{.x = gradients[index], .sum = view}, queue);
  }
  exchange.all_reduce({models::Axis::world, "gradient norm"}, view, parallel::Reduction::sum, queue);
  return std::sqrt(sum);
}

double clipping_factor(double norm, double clip_norm) {
  return clip_norm == 0 ? 1 : std::min(1.0, clip_norm / (norm + 1e-6));
}

template double gradient_norm(const models::Shards<float, Space::host>&, parallel::Exchange<Space::host>&,
                              Queue<Space::host>);

}  // namespace moebius::optimizer
