#include "data/tokenizer/added_tokens.h"

#include <algorithm>

#include "data/tokenizer/unicode.h"

namespace moebius::data {
namespace {

bool stands_alone(std::string_view before, std::string_view behind) {
  const bool word_before = !before.empty() && is_word(last_code_point(before));
  const bool word_behind = !behind.empty() && is_word(first_code_point(behind));
  return !word_before && !word_behind;
}

}  // namespace

AddedTokens::AddedTokens(std::vector<AddedToken> tokens) : tokens_(std::move(tokens)), begins_token_(256) {
  std::stable_sort(tokens_.begin(), tokens_.end(),
                   [](const AddedToken& a, const AddedToken& b) { return a.content < b.content; });
  // Normalisation may have made two contents equal; the one listed first stands.
  const auto repeated =
      std::unique(tokens_.begin(), tokens_.end(),
                  [](const AddedToken& a, const AddedToken& b) { return a.content == b.content; });
  tokens_.erase(repeated, tokens_.end());
  for (const AddedToken& token : tokens_) {
    begins_token_[static_cast<unsigned char>(token.content.front())] = true;
  }
}

/// Narrows the sorted tokens byte by byte; one that ends there is the longest so far.
const AddedToken* AddedTokens::longest_at(std::string_view text, std::size_t begin) const {
  const AddedToken* longest = nullptr;
  auto first = tokens_.begin(), last = tokens_.end();
  for (std::size_t depth = 0; begin + depth < text.size() && first != last; ++depth) {
    const auto byte = static_cast<unsigned char>(text[begin + depth]);
    const auto byte_of = [depth](const AddedToken& token) {
      return static_cast<unsigned char>(token.content[depth]);
    };
    first = std::partition_point(first, last, [&](const AddedToken& token) { return byte_of(token) < byte; });
    last = std::partition_point(first, last, [&](const AddedToken& token) { return byte_of(token) == byte; });
    const bool ends_here = first != last && first->content.size() == depth + 1;
    if (ends_here) longest = &*first++;
  }
  return longest;
}

std::vector<AddedTokens::Part> AddedTokens::cut(std::string_view text) const {
  std::vector<Part> parts;
  std::size_t done = 0;  // up to here the text is in parts
  for (std::size_t at = 0; at < text.size();) {
    const AddedToken* token =
        begins_token_[static_cast<unsigned char>(text[at])] ? longest_at(text, at) : nullptr;
    if (token == nullptr) {
      ++at;
      continue;
    }
    // A token that is not taken is passed over whole; the next may begin within the spaces of the last.
    std::size_t begin = at, end = at + token->content.size();
    at = end;
    if (token->single_word && !stands_alone(text.substr(0, begin), text.substr(end))) continue;
    if (token->lstrip) begin = std::max(begin - trailing_space(text.substr(0, begin)), done);
    if (token->rstrip) end += leading_space(text.substr(end));
    if (done < begin) parts.push_back({.text = text.substr(done, begin - done)});
    // Nothing is left of a token of spaces where the last one took them along.
    if (begin < end) parts.push_back({.text = text.substr(begin, end - begin), .id = token->id});
    done = end;
  }
  if (done < text.size()) parts.push_back({.text = text.substr(done)});
  return parts;
}

}  // namespace moebius::data
