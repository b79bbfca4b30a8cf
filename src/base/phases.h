#pragma once
#include <array>
#include <cstdint>
#include <numeric>
#include <string>
#include <string_view>

namespace moebius {

/// What the time of a training step goes to.
enum class Part : std::uint8_t {
  data,         // micro batches are made and sent to where they are used
  embedding,    // token ids -> stream
  norms,        // with the residual additions
  projections,  // qkv and output of attention
  attention,    // with the norm of heads and the rotary embedding
  router,       // with the way of rows to expert order and back
  experts,      // their products and what lies between them
  dense_mlp,
  head,      // last hidden states -> loss, and the gradients of both
  exchange,  // between ranks, waiting for the others included
  optimizer,
  host  // what the host does when all else is done
};
enum class Pass : std::uint8_t { forward, backward, update };

inline constexpr std::size_t kParts = 12, kPasses = 3, kPhases = kParts * kPasses;

/// "attention projections".
[[nodiscard]] constexpr std::string_view name_of(Part part) {
  constexpr std::array<std::string_view, kParts> names{"data",          "embedding",
                                                       "norms",         "attention projections",
                                                       "attention",     "router and permutation",
                                                       "experts",       "dense MLP",
                                                       "head and loss", "exchange",
                                                       "optimizer",     "host"};
  return names.at(std::size_t(part));
}
[[nodiscard]] constexpr std::string_view name_of(Pass pass) {
  constexpr std::array<std::string_view, kPasses> names{"forward", "backward", "update"};
  return names.at(std::size_t(pass));
}

/// Whether a part takes place in several passes.
[[nodiscard]] constexpr bool has_passes(Part part) {
  return part != Part::data && part != Part::head && part != Part::optimizer && part != Part::host;
}

/// Seconds by part and pass.
class PhaseTimes {
 public:
  [[nodiscard]] double& at(Part part, Pass pass) { return seconds_.at(index(part, pass)); }
  [[nodiscard]] double at(Part part, Pass pass) const { return seconds_.at(index(part, pass)); }
  [[nodiscard]] double of(Part part) const {
    const auto begin = seconds_.begin() + std::ptrdiff_t(index(part, Pass::forward));
    return std::accumulate(begin, begin + kPasses, 0.0);
  }
  [[nodiscard]] double total() const { return std::accumulate(seconds_.begin(), seconds_.end(), 0.0); }

  PhaseTimes& operator+=(const PhaseTimes& other) {
    for (std::size_t i = 0; i < kPhases; ++i) seconds_.at(i) += other.seconds_.at(i);
    return *this;
  }
  PhaseTimes& operator*=(double factor) {
    for (double& seconds : seconds_) seconds *= factor;
    return *this;
  }

  /// use(name, seconds) of everything that took time; "attention_projections_backward", "head_and_loss".
  template <class Use>
  void each(const Use& use) const {
    for (std::size_t i = 0; i < kPhases; ++i) {
      if (seconds_.at(i) != 0) use(key_of(Part(i / kPasses), Pass(i % kPasses)), seconds_.at(i));
    }
  }

 private:
  static constexpr std::size_t index(Part part, Pass pass) {
    return std::size_t(part) * kPasses + std::size_t(pass);
  }
  [[nodiscard]] static std::string key_of(Part part, Pass pass) {
    std::string key(name_of(part));
    if (has_passes(part)) (key += ' ') += name_of(pass);
    for (char& letter : key) {
      if (letter == ' ') letter = '_';
    }
    return key;
  }

  std::array<double, kPhases> seconds_{};
};

}  // namespace moebius
