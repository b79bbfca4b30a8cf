#include "cluster/datagrams.h"

#include <arpa/inet.h>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <fmt/format.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <poll.h>
#include <string_view>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/error.h"

namespace moebius::cluster {
namespace {

void expect_system(bool good, const char* what) {
  if (!good) throw ClusterError(fmt::format("the watchdog's socket: {}: {}", what, std::strerror(errno)));
}

/// The IPv4 addresses of all interfaces that are up, loopback included: ranks on the same host reach us
/// there, and on another host only a process of that host, whose answer carries its own rank.
std::string host_addresses() {
  ifaddrs* interfaces = nullptr;
  expect_system(getifaddrs(&interfaces) == 0, "getifaddrs");
  std::string addresses;
  for (const ifaddrs* one = interfaces; one != nullptr; one = one->ifa_next) {
    if (one->ifa_addr == nullptr || one->ifa_addr->sa_family != AF_INET) continue;
    if ((one->ifa_flags & IFF_UP) == 0) continue;
    std::array<char, INET_ADDRSTRLEN> text{};
    const auto* address = reinterpret_cast<const sockaddr_in*>(one->ifa_addr);
    inet_ntop(AF_INET, &address->sin_addr, text.data(), text.size());
    if (!addresses.empty()) addresses += ' ';
    addresses += text.data();
  }
  freeifaddrs(interfaces);
  return addresses;
}

}  // namespace

Datagrams::Datagrams() {
  socket_ = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  expect_system(socket_ >= 0, "socket");
  wake_ = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  expect_system(wake_ >= 0, "eventfd");
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_ANY);
  expect_system(::bind(socket_, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0, "bind");
  socklen_t length = sizeof address;
  expect_system(::getsockname(socket_, reinterpret_cast<sockaddr*>(&address), &length) == 0, "getsockname");
  endpoint_ = fmt::format("{}:{}", host_addresses(), ntohs(address.sin_port));
}

Datagrams::~Datagrams() {
  if (socket_ >= 0) ::close(socket_);
  if (wake_ >= 0) ::close(wake_);
}

std::vector<sockaddr_in> Datagrams::addresses_of(const std::string& endpoint) {
  const std::size_t colon = endpoint.rfind(':');
  if (colon == std::string::npos) return {};
  std::uint16_t port = 0;
  std::from_chars(endpoint.data() + colon + 1, endpoint.data() + endpoint.size(), port);
  std::vector<sockaddr_in> addresses;
  for (std::size_t begin = 0; begin < colon;) {
    const std::size_t end = std::min(endpoint.find(' ', begin), colon);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    const std::string text = endpoint.substr(begin, end - begin);
    if (inet_pton(AF_INET, text.c_str(), &address.sin_addr) == 1) addresses.push_back(address);
    begin = end + 1;
  }
  return addresses;
}

void Datagrams::send(const sockaddr_in& to, std::span<const std::byte> bytes) const {
  ::sendto(socket_, bytes.data(), bytes.size(), MSG_DONTWAIT, reinterpret_cast<const sockaddr*>(&to),
           sizeof to);
}

void Datagrams::wait(std::chrono::milliseconds limit) const {
  std::array<pollfd, 2> watched{{{socket_, POLLIN, 0}, {wake_, POLLIN, 0}}};
  ::poll(watched.data(), watched.size(), int(limit.count()));
}

std::optional<sockaddr_in> Datagrams::receive(std::span<std::byte> buffer) const {
  while (true) {
    sockaddr_in from{};
    socklen_t length = sizeof from;
    // MSG_TRUNC: the true length, so that a longer stranger is told apart.
    const ssize_t got = ::recvfrom(socket_, buffer.data(), buffer.size(), MSG_DONTWAIT | MSG_TRUNC,
                                   reinterpret_cast<sockaddr*>(&from), &length);
    // An ICMP refusal of an earlier send shows up here as an error; there may be more behind it.
    if (got < 0 && errno == ECONNREFUSED) continue;
    if (got < 0) return std::nullopt;
    if (std::size_t(got) == buffer.size()) return from;
  }
}

void Datagrams::wake() const {
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = ::write(wake_, &one, sizeof one);
}

}  // namespace moebius::cluster
