#include "commands/session.h"

#include <algorithm>
#include <cstdio>

#include "base/date.h"
#include "base/file.h"
#include "base/process.h"
#include "kernels/threads.h"

namespace moebius::commands {
namespace {

constexpr std::int64_t kLongestJobFile = std::int64_t{1} << 20;

std::string read_job_file(const std::string& path) {
  try {
    return read_file(path, kLongestJobFile);
  } catch (const InputError& error) {  // a job file that cannot be read is bad usage, not a bad input
    throw UsageError(error.what());
  }
}

}  // namespace

void share_cores(const Session& session) {
  if (session.environment.get("OMP_NUM_THREADS")) return;
  const auto ranks = int(session.cluster.node().ranks.size());
  const int share = std::max(1, online_cores() / ranks);
  kernels::set_threads(
      std::min(share, kernels::usable_cores()));  // fewer where the launcher binds ranks to cores
}

job::Job load_job(const JobArguments& arguments, job::Purpose purpose, Session& session) {
  auto& cluster = session.cluster;
  std::string text;
  cluster.on_first_rank("read the job file", [&] { text = read_job_file(arguments.file); });
  text = cluster.broadcast("job file", std::move(text));
  job::Job job = cluster.together("check the job", [&] {
    return job::load_job({.text = text, .file = arguments.file, .overrides = arguments.overrides}, purpose);
  });
  job.started_on = cluster.broadcast("date", date_of_today());
  return job;
}

void write_result(const std::string& text, Session& session) {
  session.cluster.on_first_rank("write the result", [&] {
    const bool is_written = std::fwrite(text.data(), 1, text.size(), stdout) == text.size();
    if (!is_written || std::fflush(stdout) != 0) throw ClusterError("stdout: cannot write the result");
  });
}

}  // namespace moebius::commands
