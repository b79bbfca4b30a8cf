#pragma once
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace moebius::models {

/// The keys of a config.json, read with checks: every error is an InputError that names the file, the key,
/// the value and what was expected. A key whose value is null counts as absent.
class ConfigReader {
 public:
  struct Bounds {
    std::int64_t least = 1, most = std::numeric_limits<std::int32_t>::max();
  };
  struct RealBounds {
    double least, most;
  };

  /// Throws where `text` is not a JSON object; the message tells the byte.
  ConfigReader(std::string_view text, std::string file);

  [[nodiscard]] bool has(const std::string& key) const;
  /// The first of the keys that is there; where several are, they must agree. `keys` are spellings of one
  /// setting, oldest first.
  [[nodiscard]] std::int64_t integer(const std::vector<std::string>& keys, Bounds bounds) const;
  [[nodiscard]] std::int64_t integer_or(const std::string& key, std::int64_t fallback, Bounds bounds) const;
  [[nodiscard]] double real_or(const std::string& key, double fallback, RealBounds bounds) const;
  [[nodiscard]] double real(const std::string& key, RealBounds bounds) const;
  [[nodiscard]] bool flag_or(const std::string& key, bool fallback) const;
  [[nodiscard]] std::optional<std::string> word(const std::string& key) const;
  /// A list, or nothing where the key is absent; one value counts as a list of one.
  [[nodiscard]] std::vector<std::int64_t> integers(const std::string& key, Bounds bounds) const;
  [[nodiscard]] std::vector<std::string> words(const std::string& key) const;
  /// The object under a key, whose errors name "key.inner".
  [[nodiscard]] ConfigReader part(const std::string& key) const;

  /// "config.json: num_experts = 6 <reason>".
  [[noreturn]] void refuse(const std::string& key, const std::string& reason) const;

 private:
  struct Node;  // the JSON library stays in the .cpp
  ConfigReader(std::shared_ptr<const Node> node, std::string file, std::string prefix);

  std::shared_ptr<const Node> node_;
  std::string file_, prefix_;
};

}  // namespace moebius::models
