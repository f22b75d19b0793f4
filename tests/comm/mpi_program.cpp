// Runs under mpirun: the checks of the local ranks over MPI, and that both give the same bits.
#include <cstdio>

#include "comm/clock.h"
#include "comm/local/local_ranks.h"
#include "comm/mpi/mpi_session.h"
#include "comm/mpi/mpi_transport.h"
#include "comm/world.h"
#include "tests/comm/collective_checks.h"
#include "tests/comm/pipeline_checks.h"

namespace trine {
namespace {

using namespace std::chrono_literals;

// What this rank of `fabric` gets in one of its groups.
Bytes results_on(Fabric& fabric, const Mesh& mesh, Group group) {
  CommWorld world(fabric, mesh, 60s);
  Bytes results;
  check_collectives(world[group], results);
  check_message_storm(world[group], 1);
  check_pipeline(world[group], results);
  return results;
}

// Rank 0 waits for a message that rank 1 never sends.
void check_timeout(Fabric& fabric) {
  CommWorld world(fabric, {.dp = fabric.num_ranks()}, 200ms);
  if (fabric.rank() != 0) return;
  try {
    float data = 0;
    world[Group::kDp].recv(&data, 1, DType::kF32, 1, 0);
  } catch (const HangError& error) {
    const std::string_view message = error.what();
    if (message.find("rank 0 in recv 1 of group dp, waiting for rank 1") != message.npos) return;
  }
  throw std::runtime_error("a wait did not run out");
}

// What is longer than MPI's int counts, with parts of 64 bytes in its place: whole parts, a rest, nothing.
void check_parts(const MpiSession& session) {
  MPI_Comm group = MPI_COMM_NULL;
  check_mpi(MPI_Comm_dup(MPI_COMM_WORLD, &group), "MPI_Comm_dup");
  MpiTransport transport(group, 64);
  const int n = session.num_ranks(), next = (session.rank() + 1) % n, previous = (session.rank() + n - 1) % n;
  const auto pattern = [](int rank, size_t size) {
    std::vector<char> bytes(size);
    for (size_t i = 0; i < size; ++i) bytes[i] = static_cast<char>(37 * i + static_cast<size_t>(rank));
    return bytes;
  };
  const size_t sizes[] = {1000, 0, 64, 65, 128};
  std::vector<std::vector<char>> sent, received;
  std::vector<std::unique_ptr<Message>> messages;
  for (const size_t size : sizes) {
    std::vector<char>& to = received.emplace_back(size);
    messages.push_back(transport.receive(to.data(), size, previous, 5));
  }
  for (const size_t size : sizes) {
    const std::vector<char>& from = sent.emplace_back(pattern(session.rank(), size));
    messages.push_back(transport.send(from.data(), size, next, 5));
  }
  for (const auto& message : messages) message->wait({});
  for (const std::vector<char>& got : received)
    if (got != pattern(previous, got.size())) throw std::runtime_error("a message in parts is not what was sent");
}

void check_clock(MpiSession& session) {
  CommWorld world(session, {.dp = session.num_ranks()}, 60s);
  for (const ClockOffset& clock : align_clocks(world[Group::kWorld]).offsets)
    if (clock.offset_ns != 0 || clock.error_ns != 0) throw std::runtime_error("processes of a host share a clock");
}

void run(MpiSession& session) {
  const int n = session.num_ranks();
  const std::pair<Mesh, Group> cases[] = {{Mesh{.dp = n}, Group::kWorld}, {Mesh{.pp = n / 2, .tp = 2}, Group::kTp}};
  for (const auto& [mesh, group] : cases) {
    const Bytes over_mpi = results_on(session, mesh, group);
    run_local_ranks(n, [&, mesh = mesh, group = group](Fabric& local) {
      const Bytes results = results_on(local, mesh, group);
      if (local.rank() == session.rank() && results != over_mpi)
        throw std::runtime_error("MPI and local ranks differ");
    });
  }
  check_parts(session);
  check_clock(session);
  check_timeout(session);
}

}  // namespace
}  // namespace trine

int main() {
  trine::MpiSession session;
  try {
    trine::run(session);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "rank %d: %s\n", session.rank(), error.what());
    session.abort(1);
  }
  return 0;
}
