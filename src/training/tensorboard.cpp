#include "training/tensorboard.h"

#include <array>
#include <bit>
#include <chrono>
#include <cstring>
#include <fmt/format.h>
#include <unistd.h>

namespace moebius::training {
namespace {

constexpr int kSessionStart = 1;  // SessionLog.SessionStatus of event.proto

// Wire types of protobuf.
constexpr int kVarint = 0, kDouble = 1, kBytes = 2, kFloat = 5;

std::string varint(std::uint64_t value) {
  std::string bytes;
  for (; value >= 0x80; value >>= 7) bytes += char(value | 0x80);
  return bytes + char(value);
}

template <class T>
std::string raw(T value) {
  std::string bytes(sizeof(T), '\0');
  std::memcpy(bytes.data(), &value, sizeof(T));  // little endian, as the format wants and x86 and ARM have it
  return bytes;
}

std::string key(int field, int wire_type) {
  return varint(std::uint64_t(field << 3 | wire_type));
}
std::string message(int field, const std::string& body) {
  return key(field, kBytes) + varint(body.size()) + body;
}

double now() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

constexpr auto kCrcTable = [] {
  std::array<std::uint32_t, 256> table{};
  for (std::uint32_t byte = 0; byte < 256; ++byte) {
    std::uint32_t word = byte;
    for (int bit = 0; bit < 8; ++bit) word = (word >> 1) ^ ((word & 1) != 0 ? 0x82F63B78u : 0u);
    table[byte] = word;
  }
  return table;
}();

/// CRC-32C (Castagnoli), masked as TFRecord does.
std::uint32_t masked_crc(const std::string& bytes) {
  std::uint32_t crc = ~0u;
  for (const char byte : bytes) crc = (crc >> 8) ^ kCrcTable[(crc ^ std::uint8_t(byte)) & 0xff];
  return std::rotr(~crc, 15) + 0xa282ead8u;
}

std::string host_name() {
  std::array<char, 256> name{};
  return ::gethostname(name.data(), name.size() - 1) == 0 ? name.data() : "host";
}

}  // namespace

TensorBoardFile::TensorBoardFile(const std::filesystem::path& folder, std::int64_t last_iteration) {
  std::filesystem::create_directories(folder);
  const auto file = fmt::format("events.out.tfevents.{}.{}.{}", std::int64_t(now()), host_name(), ::getpid());
  stream_.open(folder / file, std::ios::binary);
  write_event(0, message(3, "brain.Event:2"));
  write_event(last_iteration + 1, message(7, key(1, kVarint) + varint(kSessionStart)));
}

void TensorBoardFile::append(const Metrics& metrics) {
  std::string summary;
  for (const auto& [name, value] : metrics.values) {
    const std::string tag = name.starts_with("eval_") ? "eval/" + name.substr(5) : "train/" + name;
    summary += message(1, message(1, tag) + key(2, kFloat) + raw(float(value)));
  }
  write_event(metrics.iteration, message(5, summary));
  stream_.flush();
}

void TensorBoardFile::write_event(std::int64_t step, const std::string& payload) {
  const std::string event =
      key(1, kDouble) + raw(now()) + key(2, kVarint) + varint(std::uint64_t(step)) + payload;
  const std::string length = raw(std::uint64_t{event.size()});
  stream_ << length << raw(masked_crc(length)) << event << raw(masked_crc(event));
}

}  // namespace moebius::training
