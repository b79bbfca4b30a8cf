#include "commands/session.h"
#include "job/write.h"

namespace moebius::commands {

ExitCode check(const CheckCommand& command, Session& session) {
  const job::Job job = load_job(command.job, job::Purpose::check, session);
  write_result(job::write_job(job), session);
  return ExitCode::done;
}

}  // namespace moebius::commands
