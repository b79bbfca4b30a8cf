#include "data/tokenizer/bpe.h"

#include <algorithm>
#include <bit>
#include <functional>
#include <limits>
#include <queue>

namespace moebius::data {
namespace {

constexpr std::size_t kShort = 64;  // bytes; up to here scanning for the minimum beats a heap
constexpr std::int32_t kNoRank = std::numeric_limits<std::int32_t>::max();

std::uint64_t key_of(std::int32_t left, std::int32_t right) {
  return std::uint64_t(std::uint32_t(left)) << 32 | std::uint32_t(right);
}

/// Multiplicative hashing; the upper bits are the good ones.
std::uint64_t slot_of(std::uint64_t key, std::size_t slots) {
  const std::uint64_t mixed = (key ^ (key >> 29)) * 0x9E37'79B9'7F4A'7C15u;
  return mixed >> (64 - std::countr_zero(slots));
}

std::size_t slots_for(std::size_t entries) {
  return std::bit_ceil(std::max<std::size_t>(2 * entries, 2));
}

}  // namespace

Bpe::Bpe(const Model& model) : byte_id_(model.byte_id) {
  add_merges(model.merges);
  add_whole_words(model);
}

void Bpe::add_merges(std::span<const Merge> merges) {
  entries_.resize(slots_for(merges.size()));
  const std::size_t mask = entries_.size() - 1;
  for (std::size_t rank = 0; rank < merges.size(); ++rank) {
    const Merge& merge = merges[rank];
    const std::uint64_t pair = key_of(merge.left, merge.right);
    std::size_t slot = slot_of(pair, entries_.size());
    while (entries_[slot].pair != kNoPair && entries_[slot].pair != pair) slot = (slot + 1) & mask;
    entries_[slot] = {.pair = pair, .rank = std::int32_t(rank), .result = merge.result};
  }
}

void Bpe::add_whole_words(const Model& model) {
  whole_words_.resize(slots_for(model.tokens.size()));
  const std::size_t mask = whole_words_.size() - 1;
  std::vector<std::int32_t> ids;
  for (const Token& token : model.tokens) {
    ids.clear();
    if (model.whole_words == WholeWords::by_merges) merge(token.bytes, ids);
    const bool whole = model.whole_words == WholeWords::first || (ids.size() == 1 && ids[0] == token.id);
    if (!whole || token.bytes.empty()) continue;
    const std::size_t hash = std::hash<std::string_view>{}(token.bytes);
    std::size_t slot = slot_of(hash, whole_words_.size());
    while (whole_words_[slot].id >= 0) slot = (slot + 1) & mask;
    whole_words_[slot] = {.begin = std::uint32_t(bytes_.size()),
                          .length = std::uint32_t(token.bytes.size()),
                          .hash = std::uint32_t(hash),
                          .id = token.id};
    bytes_ += token.bytes;
  }
}

const Bpe::Entry* Bpe::find(std::int32_t left, std::int32_t right) const {
  const std::uint64_t pair = key_of(left, right);
  const std::size_t mask = entries_.size() - 1;
  for (std::size_t slot = slot_of(pair, entries_.size());; slot = (slot + 1) & mask) {
    if (entries_[slot].pair == pair) return &entries_[slot];
    if (entries_[slot].pair == kNoPair) return nullptr;
  }
}

std::int32_t Bpe::whole_word(std::string_view word, std::size_t hash) const {
  const std::size_t mask = whole_words_.size() - 1;
  for (std::size_t slot = slot_of(hash, whole_words_.size());; slot = (slot + 1) & mask) {
    const WholeWord& entry = whole_words_[slot];
    if (entry.id < 0) return -1;
    if (entry.hash != std::uint32_t(hash)) continue;
    if (std::string_view(bytes_).substr(entry.begin, entry.length) == word) return entry.id;
  }
}

void Bpe::encode(std::string_view word, std::vector<std::int32_t>& ids) const {
  const std::size_t hash = std::hash<std::string_view>{}(word);
  const std::int32_t id = whole_word(word, hash);
  if (id >= 0) return ids.push_back(id);
  if (merged_->find(word, hash, ids)) return;
  const std::size_t begin = ids.size();
  merge(word, ids);
  merged_->add(word, hash, ids, begin);
}

void Bpe::merge(std::string_view word, std::vector<std::int32_t>& ids) const {
  return word.size() <= kShort ? merge_short(word, ids) : merge_long(word, ids);
}

/// The symbols lie in `ids` itself, behind those that were there; ranks[i] is the rank of symbols i and i
/// + 1.
void Bpe::merge_short(std::string_view word, std::vector<std::int32_t>& ids) const {
  const std::size_t begin = ids.size();
  for (const char byte : word) ids.push_back(byte_id_[static_cast<unsigned char>(byte)]);
  std::int32_t* symbols = ids.data() + begin;
  std::size_t count = word.size();
  std::array<std::int32_t, kShort> ranks, results;
  const auto look_up = [&](std::size_t i) {
    const Entry* entry = find(symbols[i], symbols[i + 1]);
    ranks[i] = entry == nullptr ? kNoRank : entry->rank;
    results[i] = entry == nullptr ? 0 : entry->result;
  };
  for (std::size_t i = 0; i + 1 < count; ++i) look_up(i);
  while (count > 1) {
    const auto* first = std::min_element(ranks.data(), ranks.data() + count - 1);
    if (*first == kNoRank) break;
    const auto at = std::size_t(first - ranks.data());
    symbols[at] = results[at];
    std::copy(symbols + at + 2, symbols + count, symbols + at + 1);
    std::copy(ranks.data() + at + 1, ranks.data() + count - 1, ranks.data() + at);
    std::copy(results.data() + at + 1, results.data() + count - 1, results.data() + at);
    --count;
    if (at > 0) look_up(at - 1);
    if (at + 1 < count) look_up(at);
  }
  ids.resize(begin + count);
}

/// A heap of (rank, position) over a linked list of symbols: n log n, for words without end.
void Bpe::merge_long(std::string_view word, std::vector<std::int32_t>& ids) const {
  struct Symbol {
    std::int32_t id, previous, next;  // -1: none; id -1: merged into the one before
  };
  const auto count = std::int32_t(word.size());
  std::vector<Symbol> symbols(word.size());
  for (std::int32_t i = 0; i < count; ++i) {
    const auto byte = static_cast<unsigned char>(word[std::size_t(i)]);
    symbols[std::size_t(i)] = {byte_id_[byte], i - 1, i + 1 < count ? i + 1 : -1};
  }
  const auto at = [&](std::int32_t i) -> Symbol& { return symbols[std::size_t(i)]; };
  const auto entry_at = [&](std::int32_t i) -> const Entry* {
    const bool is_pair = i >= 0 && at(i).id >= 0 && at(i).next >= 0;
    return is_pair ? find(at(i).id, at(at(i).next).id) : nullptr;
  };

  std::priority_queue<std::uint64_t, std::vector<std::uint64_t>, std::greater<>> queue;
  const auto push = [&](std::int32_t i) {
    if (const Entry* entry = entry_at(i)) queue.push(key_of(entry->rank, i));
  };
  for (std::int32_t i = 0; i < count; ++i) push(i);
  while (!queue.empty()) {
    const auto rank = std::int32_t(queue.top() >> 32);
    const auto i = std::int32_t(queue.top() & 0xFFFF'FFFFu);
    queue.pop();
    const Entry* entry = entry_at(i);
    if (entry == nullptr || entry->rank != rank) continue;  // the pair has changed since it was pushed
    Symbol& right = at(at(i).next);
    at(i).id = entry->result;
    at(i).next = right.next;
    right.id = -1;
    if (right.next >= 0) at(right.next).previous = i;
    push(at(i).previous);
    push(i);
  }
  for (std::int32_t i = 0; i >= 0; i = at(i).next) ids.push_back(at(i).id);
}

}  // namespace moebius::data
