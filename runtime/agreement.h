// What all ranks must do alike.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "comm/communicator.h"

namespace trine {

// Runs `body`. If it throws an Error on some ranks, all throw the one of the lowest of them, so that nobody waits
// for a rank that has given up. Collective over `world` (nullptr: this rank is alone); anything else than an Error
// passes through as it is.
void run_agreed(Communicator* world, const std::function<void()>& body);

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
