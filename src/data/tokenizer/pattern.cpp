#include "data/tokenizer/pattern.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <fmt/format.h>
#include <new>
#include <stdexcept>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "base/error.h"
#include "data/tokenizer/unicode_16.h"

namespace moebius::data {
namespace {

/// The inside of a set that is Oniguruma's \w: also the superscript digits and fractions of Latin-1, but no
/// other such numbers.
std::string word_members() {
  return fmt::format(
      R"(\p{{Alphabetic}}\p{{M}}\p{{Nd}}\p{{Pc}}\x{{B2}}\x{{B3}}\x{{B9}}\x{{BC}}-\x{{BE}}{}{}{})",
      added_since_unicode_14('L'), added_since_unicode_14('M'), added_since_unicode_14('N'));
}

constexpr std::size_t kCodePointDigits = 4;  // of \uHHHH
constexpr std::size_t kShownTail = 20;
constexpr std::uint32_t kHeapKib = 4u << 20;  // the most that one match may backtrack

/// Walks through a pattern and writes it anew.
class Translator {
 public:
  explicit Translator(std::string_view pattern) : pattern_(pattern) {}

  std::string run() {
    while (at_ < pattern_.size()) {
      switch (pattern_[at_]) {
        case '\\': escape(); break;
        case '[': open_set(); break;
        case ']': close_set(); break;
        case '&': ampersand(); break;
        case '}': brace(); break;
        case '(': group(); break;
        default: copy(1);
      }
    }
    return std::move(result_);
  }

 private:
  [[noreturn]] void refuse(std::string_view construct) const {
    throw std::invalid_argument(
        fmt::format("'{}' at offset {} is not built: regex engines read it differently", construct, at_));
  }

  void copy(std::size_t count) {
    result_ += pattern_.substr(at_, count);
    at_ += count;
  }

  void replace(std::size_t count, std::string_view by) {
    result_ += by;
    at_ += count;
  }

  [[nodiscard]] char peek(std::size_t ahead) const {
    return at_ + ahead < pattern_.size() ? pattern_[at_ + ahead] : '\0';
  }

  void escape() {
    const char letter = peek(1);
    switch (letter) {
      case 's': return replace(2, "\\p{White_Space}");
      case 'S': return replace(2, "\\P{White_Space}");
      case 'w': return replace(2, in_set_ ? word_members() : fmt::format("[{}]", word_members()));
      case 'W':
        if (in_set_) refuse("\\W in a set");
        return replace(2, fmt::format("[^{}]", word_members()));
      case 'p':
      case 'P': return property();
      case 'u': return code_point();
      // Properties, digits, and letters that are control characters or anchors in both dialects.
      case 'd':
      case 'D':
      case 'n':
      case 'r':
      case 't':
      case 'f':
      case 'v':
      case 'a':
      case 'e':
      case 'x':
      case 'A':
      case 'z':
      case 'Z': return copy(2);
      default:
        const bool is_letter_or_digit = (letter | 0x20) >= 'a' && (letter | 0x20) <= 'z';
        if (is_letter_or_digit || (letter >= '0' && letter <= '9')) refuse(fmt::format("\\{}", letter));
        copy(2);
    }
  }

  /// \u3040
  void code_point() {
    const std::string_view digits =
        pattern_.substr(std::min(at_ + 2, pattern_.size())).substr(0, kCodePointDigits);
    const auto is_hex = [](char letter) { return std::isxdigit(static_cast<unsigned char>(letter)) != 0; };
    if (digits.size() < kCodePointDigits || !std::all_of(digits.begin(), digits.end(), is_hex)) refuse("\\u");
    replace(2 + kCodePointDigits, fmt::format("\\x{{{}}}", digits));
  }

  /// \p{L}, \P{Lu}, \p{^Han}. Categories have one or two letters; longer names are scripts, which PCRE2 would
  /// otherwise widen to script extensions.
  void property() {
    const std::size_t close = pattern_.find('}', at_);
    if (peek(2) != '{' || close == std::string_view::npos) refuse(pattern_.substr(at_, 3));
    std::string_view name = pattern_.substr(at_ + 3, close - at_ - 3);
    bool negated = peek(1) == 'P';
    if (name.starts_with('^')) {
      name.remove_prefix(1);
      negated = !negated;
    }
    const std::size_t length = close + 1 - at_;
    const std::string_view newer = name.size() == 1 ? added_since_unicode_14(name.front()) : "";
    const std::string_view kind = name.size() > 2 ? "sc:" : "";
    if (newer.empty()) return replace(length, fmt::format("\\{}{{{}{}}}", negated ? 'P' : 'p', kind, name));
    if (in_set_ && negated) refuse(pattern_.substr(at_, length));  // the rest of a set in a set
    const std::string members = fmt::format("\\p{{{}}}{}", name, newer);
    replace(length, in_set_ ? members : fmt::format("[{}{}]", negated ? "^" : "", members));
  }

  void open_set() {
    if (in_set_) refuse("[ in a set");
    in_set_ = true;
    copy(peek(1) == '^' ? 2 : 1);
    if (peek(0) == ']') refuse("[]");  // a literal ] here, or an empty set
  }

  void close_set() {
    in_set_ = false;
    copy(1);
  }

  void ampersand() {
    if (in_set_ && peek(1) == '&') refuse("&&");
    copy(1);
  }

  void brace() {
    if (!in_set_ && peek(1) == '+') refuse("}+");  // possessive, or a repetition of a repetition
    copy(1);
  }

  /// Groups, lookaround and atomic groups are alike; of the options only i is.
  void group() {
    const bool has_options = !in_set_ && peek(1) == '?' && std::isalpha(static_cast<unsigned char>(peek(2)));
    if (has_options && !(peek(2) == 'i' && (peek(3) == ':' || peek(3) == ')'))) {
      refuse(pattern_.substr(at_, 4));
    }
    copy(1);
  }

  std::string_view pattern_;
  std::size_t at_ = 0;
  bool in_set_ = false;
  std::string result_;
};

std::string message_of(int code) {
  std::array<PCRE2_UCHAR, 256> text{};
  pcre2_get_error_message(code, text.data(), text.size());
  return reinterpret_cast<const char*>(text.data());
}

/// The last characters before an error: in a translated pattern they say more than an offset.
std::string_view tail_of(std::string_view text) {
  return text.substr(text.size() - std::min(text.size(), kShownTail));
}

PCRE2_SPTR units(std::string_view text) {
  return reinterpret_cast<PCRE2_SPTR>(text.data());
}

}  // namespace

std::string in_pcre2_dialect(std::string_view pattern) {
  return Translator(pattern).run();
}

void Pattern::Free::operator()(pcre2_code* code) const {
  pcre2_code_free(code);
}
void Pattern::MatchSpace::Free::operator()(pcre2_match_data* data) const {
  pcre2_match_data_free(data);
}

Pattern::MatchSpace::MatchSpace() : data_(pcre2_match_data_create(1, nullptr)) {
  if (data_ == nullptr) throw std::bad_alloc();
}

namespace {

/// A pattern of Python's re with the white space of Python's str where it says \s.
std::string from_python(std::string_view pattern) {
  constexpr std::string_view members =
      R"(\t-\r\x1c-\x20\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000})";
  std::string result;
  bool in_set = false;
  for (std::size_t at = 0; at < pattern.size(); ++at) {
    const char letter = pattern[at];
    const bool is_escape = letter == '\\' && at + 1 < pattern.size();
    if (is_escape && pattern[at + 1] == 's') {
      result += in_set ? std::string(members) : fmt::format("[{}]", members);
      ++at;
      continue;
    }
    if (is_escape) {
      result += pattern.substr(at++, 2);
      continue;
    }
    if (letter == '[') in_set = true;
    if (letter == ']') in_set = false;
    result += letter;
  }
  return result;
}

}  // namespace

Pattern::Pattern(std::string_view pattern, Syntax syntax, const std::string& place) : place_(place) {
  std::string text(pattern);
  // ^ and $ are those of lines in Ruby.
  std::uint32_t options = PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE;
  if (syntax == Syntax::literal) options = PCRE2_UTF | PCRE2_LITERAL;
  if (syntax == Syntax::python) options = PCRE2_UTF | PCRE2_UCP | PCRE2_DOTALL;
  try {
    if (syntax == Syntax::regex) text = in_pcre2_dialect(pattern);
    if (syntax == Syntax::python) text = from_python(pattern);
  } catch (const std::invalid_argument& problem) {
    throw InputError(fmt::format("{}: {} (pattern: {})", place, problem.what(), pattern));
  }
  const std::unique_ptr<pcre2_compile_context, decltype(&pcre2_compile_context_free)> context(
      pcre2_compile_context_create(nullptr), &pcre2_compile_context_free);
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  int error = 0;
  PCRE2_SIZE offset = 0;
  const auto compile = [&](std::string_view words) {
    code_.reset(pcre2_compile(units(words), words.size(), options, &error, &offset, context.get()));
    return code_ != nullptr;
  };
  if (!compile(text)) {
    const bool is_fault_of_ours = compile(pattern);  // then the place is not one of the file's own words
    if (!is_fault_of_ours) text = pattern;
    if (is_fault_of_ours) (void)compile(text);
    throw InputError(fmt::format("{}: the regular expression does not compile: {}, behind '{}' (pattern: {})",
                                 place, message_of(error), tail_of(std::string_view(text).substr(0, offset)),
                                 pattern));
  }
  std::uint32_t may_match_nothing = 0;
  pcre2_pattern_info(code_.get(), PCRE2_INFO_MATCHEMPTY, &may_match_nothing);
  if (may_match_nothing != 0)
    throw InputError(fmt::format("{}: may match the empty text: {}", place, pattern));
  // Without just-in-time compilation on this processor the interpreter gives the same matches, slower.
  compiled_to_machine_code_ = pcre2_jit_compile(code_.get(), PCRE2_JIT_COMPLETE) == 0;
}

int Pattern::match(std::string_view text, std::size_t from, MatchSpace& space) const {
  if (compiled_to_machine_code_) {
    const int count = pcre2_jit_match(code_.get(), units(text), text.size(), from, PCRE2_NO_UTF_CHECK,
                                      space.data_.get(), nullptr);
    if (count != PCRE2_ERROR_JIT_STACKLIMIT) return count;
  }
  // The interpreter backtracks on the heap; the limits are lifted as far as memory reasonably goes.
  const std::unique_ptr<pcre2_match_context, decltype(&pcre2_match_context_free)> context(
      pcre2_match_context_create(nullptr), &pcre2_match_context_free);
  pcre2_set_heap_limit(context.get(), kHeapKib);
  pcre2_set_match_limit(context.get(), UINT32_MAX);
  pcre2_set_depth_limit(context.get(), UINT32_MAX);
  return pcre2_match(code_.get(), units(text), text.size(), from, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT,
                     space.data_.get(), context.get());
}

std::optional<Pattern::Match> Pattern::find(std::string_view text, std::size_t from,
                                            MatchSpace& space) const {
  const int count = match(text, from, space);
  if (count == PCRE2_ERROR_NOMATCH) return std::nullopt;
  if (count < 0) throw InputError(fmt::format("{}: matching failed: {}", place_, message_of(count)));
  const PCRE2_SIZE* bounds = pcre2_get_ovector_pointer(space.data_.get());
  return Match{.begin = bounds[0], .end = bounds[1]};
}

}  // namespace moebius::data
