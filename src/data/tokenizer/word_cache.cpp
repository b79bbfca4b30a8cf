#include "data/tokenizer/word_cache.h"

#include <cstring>
#include <new>

namespace moebius::data {

struct WordCache::Word {
  std::size_t hash;
  std::uint32_t ids, bytes;

  [[nodiscard]] std::int32_t* first_id() { return reinterpret_cast<std::int32_t*>(this + 1); }
  [[nodiscard]] char* text() { return reinterpret_cast<char*>(first_id() + ids); }

  static Word* make(std::string_view word, std::size_t hash, const std::int32_t* ids, std::size_t count) {
    void* room = ::operator new(sizeof(Word) + count * sizeof(std::int32_t) + word.size());
    auto* made = new (room) Word{hash, std::uint32_t(count), std::uint32_t(word.size())};
    std::memcpy(made->first_id(), ids, count * sizeof(std::int32_t));
    std::memcpy(made->text(), word.data(), word.size());
    return made;
  }
};

WordCache::~WordCache() {
  for (std::atomic<Word*>& slot : slots_) ::operator delete(slot.load(std::memory_order_relaxed));
}

bool WordCache::find(std::string_view word, std::size_t hash, std::vector<std::int32_t>& ids) const {
  for (std::size_t probe = 0; probe < kProbes; ++probe) {
    Word* const kept = slots_[(hash + probe) % kSlots].load(std::memory_order_acquire);
    if (kept == nullptr) return false;
    if (kept->hash != hash || std::string_view(kept->text(), kept->bytes) != word) continue;
    ids.insert(ids.end(), kept->first_id(), kept->first_id() + kept->ids);
    return true;
  }
  return false;
}

void WordCache::add(std::string_view word, std::size_t hash, const std::vector<std::int32_t>& ids,
                    std::size_t begin) {
  if (word.size() > kLongest || words_.load(std::memory_order_relaxed) >= kMostWords) return;
  Word* const made = Word::make(word, hash, ids.data() + begin, ids.size() - begin);
  for (std::size_t probe = 0; probe < kProbes; ++probe) {
    Word* free = nullptr;
    if (slots_[(hash + probe) % kSlots].compare_exchange_strong(free, made, std::memory_order_acq_rel)) {
      words_.fetch_add(1, std::memory_order_relaxed);
      return;
    }
  }
  ::operator delete(made);
}

}  // namespace moebius::data
