#include "training/model_settings.h"

#include <stdexcept>

namespace moebius::training {

models::Truth truth_of(job::Master master) {
  switch (master) {
    case job::Master::fp32: return models::Truth::master;
    case job::Master::remainder16: return models::Truth::remainder;
    case job::Master::none: return models::Truth::weights;
  }
  throw std::logic_error("a master of no kind");
}

models::Recompute recompute_of(job::Recompute recompute) {
  switch (recompute) {
    case job::Recompute::none: return models::Recompute::nothing;
    case job::Recompute::selective: return models::Recompute::selective;
    case job::Recompute::full: return models::Recompute::full;
  }
  throw std::logic_error("a recompute of no kind");
}

}  // namespace moebius::training
