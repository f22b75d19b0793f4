// How a program of one or many ranks begins and ends. The order is what counts: ranks connect before any of them
// reads a file, so that whatever goes wrong on some of them only is known to all (run_agreed).
#pragma once

#include <chrono>
#include <functional>
#include <string>

#include "base/error.h"
#include "comm/launch.h"
#include "comm/mpi/mpi_session.h"

namespace trine {

class Communicator;

struct Connection {
  Launch launch = {};
  std::string prefix = {};        // of messages
  MpiSession* session = nullptr;  // nullptr: this process is alone
  Communicator* all = nullptr;    // all ranks, to begin with; nullptr likewise
  Watchdog* watchdog = nullptr;

  bool is_first() const { return launch.rank == 0; }
  void set_timeout(std::chrono::milliseconds timeout);
  // For an error that the other ranks do not know of: says it and ends all, at once, before the stack unwinds and
  // waits for what may never come. REQUIRES: session.
  [[noreturn]] void end_all(const std::exception& error) const;
};

// Runs `program` in this process, connected to the others of its job if a launcher started many, and returns what
// main does. An error ends all ranks: by itself if all have it (AgreedError: the first rank prints it), else this
// one prints it and takes the others down. Waiting for others has an end from the first instruction on: `timeout`,
// until the program knows better. `prefix` stands before every message.
int run_connected(const std::string& prefix, std::chrono::milliseconds timeout,
                  const std::function<ExitCode(Connection&)>& program);

// --timeout as it stands on the command line, before it may be parsed; else, or below a second, `usual`.
std::chrono::milliseconds early_timeout(int argc, const char* const* argv, std::chrono::milliseconds usual);

}  // namespace trine
