#pragma once
#include <chrono>
#include <cstddef>
#include <netinet/in.h>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace moebius::cluster {

/// A UDP socket on a port of its own (IPv4), and a way to wake up who waits for it.
class Datagrams {
 public:
  /// Throws ClusterError with the system's reason.
  Datagrams();
  Datagrams(const Datagrams&) = delete;
  Datagrams& operator=(const Datagrams&) = delete;
  ~Datagrams();

  /// "10.0.0.7 127.0.0.1:40123": all addresses of this host, and the port.
  [[nodiscard]] const std::string& endpoint() const { return endpoint_; }
  /// What an endpoint stands for.
  [[nodiscard]] static std::vector<sockaddr_in> addresses_of(const std::string& endpoint);

  /// May be lost, as datagrams are.
  void send(const sockaddr_in& to, std::span<const std::byte> bytes) const;
  /// Returns when something has arrived, when woken or after `limit`.
  void wait(std::chrono::milliseconds limit) const;
  /// The sender of a datagram of exactly buffer.size() bytes, which is then in `buffer`; others are dropped.
  [[nodiscard]] std::optional<sockaddr_in> receive(std::span<std::byte> buffer) const;
  /// Ends this and every later `wait`, from any thread.
  void wake() const;

 private:
  int socket_ = -1, wake_ = -1;
  std::string endpoint_;
};

}  // namespace moebius::cluster
