#include "cluster/watchdog.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

#include "cluster/datagrams.h"
#include "cluster/hang_report.h"

namespace moebius::cluster {
namespace {

using Clock = std::chrono::steady_clock;
using Seconds = Watchdog::Seconds;

constexpr Seconds kLongestBeat{1};  // how often the thread looks, at least
constexpr Seconds kAskAgain{0.25};  // datagrams may be lost
constexpr std::uint64_t kMagic = 0x6d6f65626975'0001;

enum class PacketKind : std::int64_t { question = 1, answer = 2 };

/// The only thing on the wire, both ways. Ranks of a job run the same binary, so it travels as it is.
struct Packet {
  std::uint64_t magic, job;
  PacketKind kind;
  RankState state;
};
static_assert(std::is_trivially_copyable_v<Packet>);

template <std::size_t Size>
void copy_text(std::array<char, Size>& to, std::string_view from) {
  const std::size_t length = std::min(from.size(), Size - 1);
  std::copy_n(from.begin(), length, to.begin());
  to[length] = '\0';
}

std::chrono::milliseconds milliseconds(Seconds seconds) {
  return std::chrono::ceil<std::chrono::milliseconds>(seconds);
}

}  // namespace

class Watchdog::Impl {
 public:
  explicit Impl(Settings settings)
      : settings_(std::move(settings)),
        mesh_(settings_.size, settings_.rank, {}),
        phase_began_(Clock::now()) {
    if (settings_.size > 1) datagrams_.emplace();  // one rank waits for nobody
  }

  ~Impl() {
    over_ = true;
    if (datagrams_) datagrams_->wake();
    if (thread_.joinable()) thread_.join();
  }

  [[nodiscard]] std::string endpoint() const { return datagrams_ ? datagrams_->endpoint() : ""; }

  void connect(const std::vector<std::string>& endpoints, std::uint64_t job) {
    job_ = job;
    for (const std::string& endpoint : endpoints) peers_.push_back(Datagrams::addresses_of(endpoint));
    if (datagrams_) thread_ = std::thread([this] { run(); });
  }

  void use(const Mesh& mesh) {
    const std::scoped_lock lock(mutex_);
    mesh_ = mesh;
    const std::int64_t world_calls = calls_[std::size_t(Axis::world)];
    calls_ = {};
    calls_[std::size_t(Axis::world)] = world_calls;
  }

  void set_timeout(Seconds timeout) {
    const std::scoped_lock lock(mutex_);
    settings_.timeout = timeout;
  }

  std::string_view enter_phase(std::string_view phase) {
    const std::string_view before = change_phase(phase);
    failed_phase_ = "";
    if (!observer_) return before;
    try {
      observer_(phase);
    } catch (...) {
      leave_phase(before, true);
      throw;
    }
    return before;
  }
  void leave_phase(std::string_view before, bool by_error) {
    const std::string_view left = change_phase(before);
    if (by_error && failed_phase_.empty()) failed_phase_ = left;
  }
  void observe_phases(std::function<void(std::string_view)> observer) { observer_ = std::move(observer); }
  [[nodiscard]] std::string_view failed_phase() const { return failed_phase_; }

  std::uint64_t enter(Axis axis, std::string_view operation, std::string_view name) {
    const std::scoped_lock lock(mutex_);
    waits_.push_back({++last_ticket_, axis, ++calls_[std::size_t(axis)], operation, name, Clock::now()});
    return last_ticket_;
  }

  void leave(std::uint64_t ticket) {
    const std::scoped_lock lock(mutex_);
    std::erase_if(waits_, [ticket](const Wait& wait) { return wait.ticket == ticket; });
  }

 private:
  /// A collective that this rank is in.
  struct Wait {
    std::uint64_t ticket;
    Axis axis;
    std::int64_t number;
    std::string_view operation, name;
    Clock::time_point began;
  };

  std::string_view change_phase(std::string_view phase) {
    const std::scoped_lock lock(mutex_);
    phase_began_ = Clock::now();
    return std::exchange(phase_, phase);
  }

  void run() {
    while (!over_) {
      pause(beat());
      serve(nullptr);
      const std::optional<std::uint64_t> ticket = overdue();
      if (ticket && Clock::now() >= leave_it_until_) investigate(*ticket);
    }
  }

  [[nodiscard]] Seconds beat() {
    const std::scoped_lock lock(mutex_);
    return std::min(kLongestBeat, settings_.timeout / 4);
  }

  /// Waits; when it lasted much longer than asked, the whole process was stopped (a suspended job), and that
  /// time does not count.
  void pause(Seconds limit) {
    const Clock::time_point before = Clock::now();
    datagrams_->wait(milliseconds(limit));
    const Clock::duration lasted = Clock::now() - before;
    if (lasted - limit < kLongestBeat) return;
    const std::scoped_lock lock(mutex_);
    for (Wait& wait : waits_) wait.began += lasted;
  }

  [[nodiscard]] std::optional<std::uint64_t> overdue() {
    const std::scoped_lock lock(mutex_);
    for (const Wait& wait : waits_)
      if (Clock::now() - wait.began > settings_.timeout) return wait.ticket;
    return std::nullopt;
  }

  /// This rank's state, as seen from its innermost collective or from `ticket`; nothing when that has ended.
  [[nodiscard]] std::optional<RankState> state(std::optional<std::uint64_t> ticket = {}) {
    const std::scoped_lock lock(mutex_);
    const Clock::time_point now = Clock::now();
    RankState state{
        .rank = settings_.rank, .phase_seconds = Seconds(now - phase_began_).count(), .calls = calls_};
    copy_text(state.phase, phase_);
    const auto wait = std::find_if(waits_.rbegin(), waits_.rend(),
                                   [&](const Wait& one) { return !ticket || one.ticket == *ticket; });
    if (wait == waits_.rend()) return ticket ? std::nullopt : std::optional(state);
    state.waiting = 1;
    state.axis = std::int64_t(wait->axis);
    state.number = wait->number;
    state.waiting_seconds = Seconds(now - wait->began).count();
    copy_text(state.operation, wait->operation);
    copy_text(state.name, wait->name);
    return state;
  }

  using Answers = std::vector<std::optional<RankState>>;

  /// Answers questions and, where `answers` is given, keeps answers. Returns the lowest rank that asked.
  std::int64_t serve(Answers* answers) {
    std::int64_t lowest = settings_.size;
    Packet packet{};
    const auto bytes = std::as_writable_bytes(std::span(&packet, 1));
    while (const auto sender = datagrams_->receive(bytes)) {
      const std::int64_t from = packet.state.rank;
      if (packet.magic != kMagic || packet.job != job_ || from < 0 || from >= settings_.size) continue;
      if (packet.kind == PacketKind::answer) {
        if (answers != nullptr) (*answers)[std::size_t(from)] = packet.state;
        continue;
      }
      send(PacketKind::answer, *sender);
      if (from == settings_.rank) continue;
      lowest = std::min(lowest, from);
      // Who asks will report: one report is enough. Should it fail, we try again later.
      if (answers == nullptr || from < settings_.rank) leave_it_until_ = later();
    }
    return lowest;
  }

  [[nodiscard]] Clock::time_point later() const {
    return Clock::now() + std::chrono::duration_cast<Clock::duration>(3 * settings_.patience);
  }

  void send(PacketKind kind, const sockaddr_in& to) {
    const Packet packet{kMagic, job_, kind, *state()};
    datagrams_->send(to, std::as_bytes(std::span(&packet, 1)));
  }

  void investigate(std::uint64_t ticket) {
    Answers answers(std::size_t(settings_.size));
    const Clock::time_point until =
        Clock::now() + std::chrono::duration_cast<Clock::duration>(settings_.patience);
    Clock::time_point ask_at = Clock::now();
    while (!over_ && Clock::now() < until) {
      if (Clock::now() >= ask_at) {
        ask(answers);
        ask_at = Clock::now() + std::chrono::duration_cast<Clock::duration>(kAskAgain);
      }
      datagrams_->wait(std::chrono::milliseconds(20));
      if (serve(&answers) < settings_.rank) return;
      answers[std::size_t(settings_.rank)] = *state();
      if (std::all_of(answers.begin(), answers.end(), [](const auto& one) { return one.has_value(); })) break;
    }
    const std::optional<RankState> waiter = state(ticket);
    if (!waiter || over_) return;  // it has ended after all
    leave_it_until_ = later();
    settings_.on_hang(hang_report(*waiter, answers, mesh()));
  }

  void ask(const Answers& answers) {
    for (std::size_t rank = 0; rank < peers_.size(); ++rank) {
      if (answers[rank] || std::int64_t(rank) == settings_.rank) continue;
      for (const sockaddr_in& address : peers_[rank]) send(PacketKind::question, address);
    }
  }

  [[nodiscard]] Mesh mesh() {
    const std::scoped_lock lock(mutex_);
    return mesh_;
  }

  std::optional<Datagrams> datagrams_;
  std::uint64_t job_ = 0;
  std::vector<std::vector<sockaddr_in>> peers_;  // by rank

  std::function<void(std::string_view)> observer_;  // of the rank's own thread, as the next
  std::string_view failed_phase_;

  std::mutex mutex_;   // guards what follows, up to the blank line
  Settings settings_;  // only the timeout changes
  Mesh mesh_;
  std::string_view phase_ = "start";
  Clock::time_point phase_began_;
  std::array<std::int64_t, kAxisCount> calls_{};
  std::vector<Wait> waits_;  // innermost last
  std::uint64_t last_ticket_ = 0;

  Clock::time_point leave_it_until_{};  // of the thread alone
  std::atomic<bool> over_ = false;
  std::thread thread_;
};

Watchdog::Watchdog(Settings settings) : impl_(std::make_unique<Impl>(std::move(settings))) {}
Watchdog::~Watchdog() = default;

std::string Watchdog::endpoint() const {
  return impl_->endpoint();
}
void Watchdog::connect(const std::vector<std::string>& endpoints, std::uint64_t job) {
  impl_->connect(endpoints, job);
}
void Watchdog::use(const Mesh& mesh) {
  impl_->use(mesh);
}
void Watchdog::set_timeout(Seconds timeout) {
  impl_->set_timeout(timeout);
}
std::string_view Watchdog::enter_phase(std::string_view phase) {
  return impl_->enter_phase(phase);
}
void Watchdog::leave_phase(std::string_view before, bool by_error) {
  impl_->leave_phase(before, by_error);
}
void Watchdog::observe_phases(std::function<void(std::string_view)> observer) {
  impl_->observe_phases(std::move(observer));
}
std::string_view Watchdog::failed_phase() const {
  return impl_->failed_phase();
}
std::uint64_t Watchdog::enter(Axis axis, std::string_view operation, std::string_view name) {
  return impl_->enter(axis, operation, name);
}
void Watchdog::leave(std::uint64_t ticket) {
  impl_->leave(ticket);
}

}  // namespace moebius::cluster
