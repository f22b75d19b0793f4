// What all ranks must do alike.
#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "comm/communicator.h"

namespace trine {

// What every rank of the job throws, so that one of them says it and all end by themselves. Any other error is this
// rank's alone: nobody else may know of it.
struct AgreedError : Error {
  using Error::Error;
};
bool is_agreed(const std::exception& error);  // NonFiniteError too: it follows from a sum over the ranks

// Runs `body`. If it throws an Error on some ranks, or finds no memory, all throw the AgreedError of the lowest of
// them, which says if it is not everybody's: so nobody waits for a rank that has given up. Collective over `world`
// (nullptr: this rank is alone, and its errors pass as they are); anything else than an Error passes through as it
// is. `body` is of this rank alone: talking to others in it is a CheckError (Silence).
void run_agreed(Communicator* world, const std::function<void()>& body);

// run_agreed of what the first rank does for all.
void run_on_first(Communicator* world, const std::function<void()>& body);

// For what throws the same on all ranks, because it follows from what they have gathered or were all told by the
// launcher: makes it an AgreedError, but for a wait that came to no end.
template <typename F>
auto alike(F body) {
  try {
    return body();
  } catch (const Error& error) {
    if (error.code() == ExitCode::kHang || error.code() == ExitCode::kPeerLost) throw;
    throw AgreedError(error.code(), error.what());
  }
}

// The text of the first rank, on all.
std::string told_by_first(Communicator* world, const std::string& own);

// What must be the same on all ranks, by name: a flag and its value, or the hash of what is too long for a message.
using Facts = std::vector<std::pair<std::string, std::string>>;
// ConfigError (agreed) that names each fact that differs, its values and their ranks; collective over `world`. To
// be asked before ranks do together what depends on them.
void check_same_on_all(Communicator* world, const Facts& own);

// Every rank's `own`, by rank.
template <typename T>
std::vector<T> gather_all(Communicator* world, const T& own) {
  static_assert(std::is_trivially_copyable_v<T>);
  if (world == nullptr) return {own};
  std::vector<T> all(static_cast<size_t>(world->size()));
  world->all_gather(&own, all.data(), world->size(), DType::kU8, sizeof(T));
  return all;
}

// The name of every rank's host, by rank. Collective over `world`.
std::vector<std::string> gather_hosts(Communicator& world);

}  // namespace trine
