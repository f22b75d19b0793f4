// All communicators of one rank, created at once and in the same order everywhere.
#pragma once

#include <array>
#include <chrono>
#include <memory>

#include "base/mesh.h"
#include "comm/communicator.h"

namespace trine {

// One group for each thread that talks: a communicator serves one thread at a time.
enum class Group {
  kWorld,     // every rank: the norm, metrics, start and end
  kTp,        // lane tp
  kDp,        // lane dp
  kPp,        // collectives between stages (tied embeddings)
  kPipeline,  // the same ranks as kPp, for the thread that moves activations between stages, with a tag per edge
};
inline constexpr std::array kGroups = {Group::kWorld, Group::kTp, Group::kDp, Group::kPp, Group::kPipeline};
std::string_view name(Group group);  // "world", "tp", "dp", "pp", "pipeline"

// A group of all ranks before there is a mesh: what else it takes to begin, they agree on there. Collective.
std::unique_ptr<Communicator> connect_all(Fabric& fabric, std::chrono::milliseconds timeout);

class CommWorld {
 public:
  // Collective over all ranks. REQUIRES: fabric.num_ranks() == mesh.num_ranks(). timeout 0: none.
  CommWorld(Fabric& fabric, const Mesh& mesh, std::chrono::milliseconds timeout);

  const Mesh& mesh() const { return mesh_; }
  Coordinate coordinate() const { return coordinate_; }
  Communicator& operator[](Group group) { return *groups_[static_cast<size_t>(group)]; }

 private:
  Mesh mesh_;
  Coordinate coordinate_;
  std::array<std::unique_ptr<Communicator>, kGroups.size()> groups_;
};

}  // namespace trine
