// Strong integer ids: a NodeId cannot be passed where a ValueId is meant.
#pragma once

#include <cstdint>
#include <functional>

namespace trine {

template <typename Tag>
struct Id {
  int32_t index = -1;
  bool valid() const { return index >= 0; }
  auto operator<=>(const Id&) const = default;
};

}  // namespace trine

template <typename Tag>
struct std::hash<trine::Id<Tag>> {
  size_t operator()(trine::Id<Tag> id) const noexcept { return std::hash<int32_t>{}(id.index); }
};
