#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

struct pcre2_real_code_8;
struct pcre2_real_match_data_8;

namespace moebius::data {

/// The regular expression `pattern`, written for Oniguruma (Ruby syntax, which Hugging Face tokenizers uses),
/// in the dialect of PCRE2. The two differ in few places: `\s` and `\w` are spelled out as Unicode
/// properties, scripts are named as scripts. What they read differently and no tokenizer needs (`\h`, `\b`,
/// sets within sets, ...) throws std::invalid_argument with the construct and its offset.
[[nodiscard]] std::string in_pcre2_dialect(std::string_view pattern);

/// How a pattern is written: for Oniguruma; as the text itself; or for Python's re with re.DOTALL, in what
/// its dialect shares with PCRE2's and with \s of Python's str.
enum class Syntax : std::uint8_t { regex, literal, python };

/// A compiled regular expression over valid UTF-8. Immutable; each thread brings its own MatchSpace.
class Pattern {
 public:
  /// Throws InputError "<place>: ..." where the expression does not compile or matches nothing at all;
  /// `place` names file and key.
  Pattern(std::string_view pattern, Syntax syntax, const std::string& place);

  struct Match {
    std::size_t begin = 0, end = 0;  // bytes
  };
  /// What PCRE2 writes on during a match.
  class MatchSpace {
   public:
    MatchSpace();

   private:
    friend Pattern;
    struct Free {
      void operator()(pcre2_real_match_data_8* data) const;
    };
    std::unique_ptr<pcre2_real_match_data_8, Free> data_;
  };

  /// The first match that begins at `from` or later; never empty.
  [[nodiscard]] std::optional<Match> find(std::string_view text, std::size_t from, MatchSpace& space) const;

 private:
  int match(std::string_view text, std::size_t from, MatchSpace& space) const;
  struct Free {
    void operator()(pcre2_real_code_8* code) const;
  };
  std::unique_ptr<pcre2_real_code_8, Free> code_;
  std::string place_;
  bool compiled_to_machine_code_ = false;
};

}  // namespace moebius::data
