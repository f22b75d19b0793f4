#pragma once

#include "base/id.h"

namespace trine {

using NodeId = Id<struct NodeTag>;
using ValueId = Id<struct ValueTag>;
using StateId = Id<struct StateTag>;

}  // namespace trine
