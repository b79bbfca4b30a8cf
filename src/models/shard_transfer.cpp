#include "models/shard_transfer.h"

#include <algorithm>
#include <bit>
#include <stdexcept>

#include "tensor/convert.h"
#include "tensor/platform.h"
#include "tensor/row_transfer.h"
#include "tensor/transfer.h"

namespace moebius::models {
namespace {

constexpr std::int64_t kBlock = std::int64_t{1} << 13;  // elements that one thread converts at a time

/// Where the elements of a part go on the host's side.
struct Places {
  Dtype dtype;
  Truth truth;  // remainder: dtype = bfloat16
  std::byte* values;
  float* master;            // null: not kept here
  std::int16_t* remainder;  // likewise
};

/// Rounds as kernels/update/adamw.h says: ties away from zero, so that 16 bits hold what is left.
void split(const float* in, bf16* high, std::int16_t* remainder, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) {
    const auto bits = std::bit_cast<std::uint32_t>(in[i]);
    const std::uint32_t upper = (bits + 0x8000u) >> 16;
    high[i].bits = std::uint16_t(upper);
    if (remainder != nullptr) remainder[i] = std::int16_t(std::uint16_t(bits - (upper << 16)));
  }
}

void join(const bf16* high, const std::int16_t* remainder, float* out, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) {
    const std::uint32_t upper = std::uint32_t{high[i].bits} << 16;
    out[i] = std::bit_cast<float>(upper + std::uint32_t(std::int32_t{remainder[i]}));
  }
}

/// Calls work(begin, count) for blocks that make up `count`, on all threads where there are many.
template <class Work>
void in_blocks(std::int64_t count, const Work& work) {
  const std::int64_t blocks = (count + kBlock - 1) / kBlock;
#pragma omp parallel for schedule(static) if (blocks > 4)
  for (std::int64_t block = 0; block < blocks; ++block)
    work(block * kBlock, std::min(kBlock, count - block * kBlock));
}

void place_block(Dtype from, const std::byte* in, const Places& to, std::int64_t begin, std::int64_t count) {
  in += begin * size_of(from);
  std::byte* const values = to.values + begin * size_of(to.dtype);
  if (to.truth == Truth::weights) return convert(from, in, to.dtype, values, count);
  std::array<float, kBlock> wide;  // rounded from fp32 whoever keeps that
  convert(from, in, Dtype::float32, wide.data(), count);
  if (to.master != nullptr) std::copy_n(wide.data(), count, to.master + begin);
  if (to.truth == Truth::master) return convert(Dtype::float32, wide.data(), to.dtype, values, count);
  split(wide.data(), reinterpret_cast<bf16*>(values),
        to.remainder == nullptr ? nullptr : to.remainder + begin, count);
}

void place(Dtype from, const std::byte* in, const Places& to, std::int64_t count) {
  in_blocks(count, [&](std::int64_t begin, std::int64_t some) { place_block(from, in, to, begin, some); });
}

}  // namespace

std::vector<Stripe> stripes_of(std::span<const Run> runs) {
  std::vector<Stripe> stripes;
  for (const Run& run : runs) {
    if (!stripes.empty()) {
      Stripe& last = stripes.back();
      const std::int64_t distance = run.whole - last.whole - (last.rows - 1) * last.stride;
      const bool follows = run.count == last.count && run.local == last.local + last.rows * last.count;
      if (follows && distance >= run.count && (last.rows == 1 || distance == last.stride)) {
        last.stride = distance;
        ++last.rows;
        continue;
      }
    }
    stripes.push_back({run.local, run.whole, run.count});
  }
  return stripes;
}

std::vector<Stripe> parts_of(const Stripe& stripe, std::int64_t longest) {
  std::vector<Stripe> parts;
  if (stripe.count == 0) return parts;
  const std::int64_t width = std::min(stripe.count, longest);                    // of a part
  const std::int64_t rows = width == stripe.count ? longest / stripe.count : 1;  // of a part
  for (std::int64_t row = 0; row < stripe.rows; row += rows) {
    for (std::int64_t begin = 0; begin < stripe.count; begin += width) {
      parts.push_back({.local = stripe.local + row * stripe.count + begin,
                       .whole = stripe.whole + row * stripe.stride + begin,
                       .count = std::min(width, stripe.count - begin),
                       .rows = std::min(rows, stripe.rows - row),
                       .stride = stripe.stride});
    }
  }
  return parts;
}

template <Space S>
StagingPair<S>::~StagingPair() {
  if (pieces_[0].values == nullptr) return;
  try {
    wait(queue_);  // copies that were queued before a failure still use the memory
  } catch (const std::exception&) {
    // The device has failed, which whoever uses it next will hear; it copies nothing any more.
  }
}

template <Space S>
typename StagingPair<S>::Piece StagingPair<S>::next() {
  if (pieces_[0].values == nullptr) {
    for (Piece& piece : pieces_) {
      piece.values = memory_.template make<std::byte>(piece_bytes()).data;
      piece.beside = memory_.template make<std::byte>(piece_bytes()).data;
    }
  }
  turn_ = 1 - turn_;
  return pieces_[turn_];
}

template <Space S>
void ShardUpload<S>::put(std::size_t index, std::span<const Run> runs, Dtype dtype,
                         const std::byte* elements) {
  // Throws here what must not be thrown among threads.
  convert(dtype, nullptr, Dtype::float32, nullptr, 0);
  const std::int64_t offset = places_.layout->row(index).offset;
  const Coming coming{dtype, elements};
  if constexpr (S == Space::host) {
    for (const Run& run : runs) send_part(offset, {run.local, run.whole, run.count}, coming);
  } else {
    for (const Stripe& stripe : stripes_of(runs)) {
      for (const Stripe& part : parts_of(stripe, staging_.elements())) send_part(offset, part, coming);
    }
  }
}

/// At once where all of the part is this rank's or none of it is, else row by row and piece by piece.
template <Space S>
void ShardUpload<S>::send_part(std::int64_t offset, const Stripe& part, const Coming& coming) {
  const std::int64_t begin = offset + part.whole;
  const auto pieces = places_.pieces({begin, begin + (part.rows - 1) * part.stride + part.count});
  if (pieces.size() == 1) return send(pieces.front(), part, coming);
  for (std::int64_t row = 0; row < part.rows; ++row) {
    const std::int64_t first = begin + row * part.stride, local = part.local + row * part.count;
    for (const Ownership::Piece& piece : places_.pieces({first, first + part.count})) {
      const std::int64_t at = piece.elements.begin;
      send(piece, {local + at - first, at - offset, piece.elements.size()}, coming);
    }
  }
}

/// `part`, which begins where `piece` does.
template <Space S>
void ShardUpload<S>::send(const Ownership::Piece& piece, const Stripe& part, const Coming& coming) {
  if (places_.values_are_owned && !piece.place) return;
  const std::int64_t first = places_.values_are_owned ? *piece.place : piece.elements.begin;
  const auto beside = [&](auto* values) {
    return values == nullptr || !piece.place ? nullptr : values + *piece.place;
  };
  const Places places{.dtype = places_.dtype,
                      .truth = places_.truth,
                      .values = places_.values + first * size_of(places_.dtype),
                      .master = beside(places_.master),
                      .remainder = beside(places_.remainder)};
  const std::int64_t count = part.rows * part.count;
  const std::byte* const in = coming.elements + part.local * size_of(coming.dtype);
  if constexpr (S == Space::host) {
    place(coming.dtype, in, places, count);
  } else {
    const auto staged = staging_.next();
    place(
        coming.dtype, in,
        {.dtype = places.dtype,
         .truth = places.truth,
         .values = staged.values,
         .master = places.master == nullptr ? nullptr : reinterpret_cast<float*>(staged.beside),
         .remainder = places.remainder == nullptr ? nullptr : reinterpret_cast<std::int16_t*>(staged.beside)},
        count);
    const auto upload = [&](const std::byte* from, void* to, std::int64_t size) {
      if (part.rows == 1) return upload_bytes(from, to, count * size, staging_.queue());
      copy_rows({.from = from,
                 .from_pitch = part.count * size,
                 .to = static_cast<std::byte*>(to),
                 .to_pitch = part.stride * size,
                 .width = part.count * size,
                 .rows = part.rows},
                staging_.queue());
    };
    wait(staging_.queue());  // the other piece is free again
    upload(staged.values, places.values, size_of(places.dtype));
    if (places.master != nullptr) upload(staged.beside, places.master, sizeof(float));
    if (places.remainder != nullptr) upload(staged.beside, places.remainder, sizeof(std::int16_t));
  }
}

template <Space S>
void ShardUpload<S>::finish() {
  wait(staging_.queue());
}

template <Space S>
void ShardDownload<S>::get(std::size_t index, std::span<const Run> runs, std::byte* out) {
  const std::int64_t offset = places_.layout->row(index).offset;
  struct Part {
    Ownership::Piece piece;
    std::int64_t local;
  };
  std::vector<Part> parts;
  for (const Run& run : runs) {
    for (const Stripe& part : parts_of({run.local, run.whole, run.count}, staging_.elements())) {
      const std::int64_t begin = offset + part.whole;
      for (const Ownership::Piece& piece : places_.pieces({begin, begin + part.count}))
        parts.push_back({piece, part.local + piece.elements.begin - begin});
    }
  }
  Found coming{};
  if (!parts.empty()) coming = fetch(parts[0].piece);
  for (std::size_t i = 0; i < parts.size(); ++i) {
    wait(staging_.queue());
    const Found found = coming;
    if (i + 1 < parts.size()) coming = fetch(parts[i + 1].piece);
    emit(found, parts[i].piece.elements.size(), out + parts[i].local * size_of(dtype_));
  }
}

template <Space S>
typename ShardDownload<S>::Found ShardDownload<S>::fetch(const Ownership::Piece& piece) {
  if (places_.ownership != nullptr && !piece.place)
    throw std::logic_error("elements of the optimizer that another rank owns");
  const std::int64_t size = size_of(places_.dtype), count = piece.elements.size();
  const std::int64_t first = places_.values_are_owned ? *piece.place : piece.elements.begin;
  const std::byte* const values = places_.values + first * size;
  const std::int16_t* const remainder =
      places_.remainder == nullptr ? nullptr : places_.remainder + *piece.place;
  if constexpr (S == Space::host) {
    return {values, remainder};
  } else {
    const auto staged = staging_.next();
    download_bytes(values, staged.values, count * size, staging_.queue());
    if (remainder == nullptr) return {staged.values, nullptr};
    download_bytes(remainder, staged.beside, count * std::int64_t(sizeof(std::int16_t)), staging_.queue());
    return {staged.values, reinterpret_cast<const std::int16_t*>(staged.beside)};
  }
}

template <Space S>
void ShardDownload<S>::emit(const Found& found, std::int64_t count, std::byte* out) const {
  in_blocks(count, [&](std::int64_t begin, std::int64_t some) {
    const std::byte* const values = found.values + begin * size_of(places_.dtype);
    std::byte* const to = out + begin * size_of(dtype_);
    if (found.remainder == nullptr) return convert(places_.dtype, values, dtype_, to, some);
    join(reinterpret_cast<const bf16*>(values), found.remainder + begin, reinterpret_cast<float*>(to), some);
  });
}

#define MOEBIUS_INSTANTIATE(S)   \
  template class StagingPair<S>; \
  template class ShardUpload<S>; \
  template class ShardDownload<S>;
MOEBIUS_EACH_SPACE(MOEBIUS_INSTANTIATE)
#undef MOEBIUS_INSTANTIATE

}  // namespace moebius::models
