#include "runtime/job/connection.h"

#include "base/exit_code.h"
#include "comm/cores.h"
#include "comm/world.h"
#include "plan/config/flag_values.h"
#include "runtime/job/agreement.h"
#include "runtime/job/launch_peers.h"
#include "runtime/job/log.h"

namespace trine {
namespace {

// Says it, if nobody else does, and returns the code to end with.
ExitCode explain(const std::string& prefix, const Launch& launch, const std::exception& error) {
  const ExitCode code = exit_code_of(error);
  const auto* known = dynamic_cast<const Error*>(&error);
  if (launch.of_many() && (code == ExitCode::kHang || code == ExitCode::kPeerLost) && !is_agreed(error))
    return report_late_start(launch, *known);
  if (launch.rank == 0 || !is_agreed(error)) Log(launch.rank, true).fail(prefix + message_of(error));
  return code;
}

ExitCode run_with_mpi(const std::string& prefix, std::chrono::milliseconds timeout, Launch launch,
                      const std::function<ExitCode(Connection&)>& program) {
  Watchdog watchdog(timeout, [&](const std::string& call, Watchdog::Duration lasted, Watchdog::Duration overdue) {
    const auto code = judge_late_start(launch, call, lasted, overdue);
    return code ? std::optional(static_cast<int>(*code)) : std::nullopt;
  });
  if (within_slurm_step())
    alike([&] { check_pmi(launch); });  // all its tasks find the same: one says it
  else
    check_pmi(launch);
  MpiSession session(&watchdog);
  check_launch(launch, session);
  Connection connection{launch, prefix, &session, nullptr, &watchdog};
  try {
    const std::unique_ptr<Communicator> all = connect_all(session, timeout);
    connection.all = all.get();
    return program(connection);
  } catch (const std::exception& error) {
    if (!is_agreed(error)) connection.end_all(error);
    return explain(prefix, launch, error);
  }
}

}  // namespace

void Connection::set_timeout(std::chrono::milliseconds timeout) {
  if (all != nullptr) all->set_timeout(timeout);
  if (watchdog != nullptr) watchdog->set_limit(timeout);
}

void Connection::end_all(const std::exception& error) const {
  session->abort(static_cast<int>(explain(prefix, launch, error)));
}

int run_connected(const std::string& prefix, std::chrono::milliseconds timeout,
                  const std::function<ExitCode(Connection&)>& program) {
  const Launch launch = detect_launch();
  undo_default_binding(launch);  // before there is any thread
  try {
    if (launch.of_many()) return static_cast<int>(run_with_mpi(prefix, timeout, launch, program));
    Connection alone{.launch = launch};
    return static_cast<int>(program(alone));
  } catch (const std::exception& error) {
    return static_cast<int>(explain(prefix, launch, error));
  }
}

std::chrono::milliseconds early_timeout(int argc, const char* const* argv, std::chrono::milliseconds usual) {
  for (int i = argc - 1; i > 0; --i) {
    std::string text = argv[i];
    if (text == "--timeout" && i + 1 < argc)
      text = argv[i + 1];
    else if (text.starts_with("--timeout="))
      text.erase(0, std::string("--timeout=").size());
    else
      continue;
    const auto seconds = ValueText<double>::parse(text);
    return seconds && *seconds >= 1 ? to_timeout(*seconds) : usual;
  }
  return usual;
}

}  // namespace trine
