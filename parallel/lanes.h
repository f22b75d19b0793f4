// Who waits for whom: three passes, a file each (lanes.cpp, overlap.cpp, waits.cpp). A lane is a queue in which a
// rank's work runs in order, beside the other lanes: compute, and one for the communication of each mesh axis.
#pragma once

#include "graph/graph.h"

namespace trine {

// Gives every node that moves bytes between ranks the lane of its axis.
Graph assign_lanes(Graph graph);

// Orders each backward action so that tensor-parallel collectives hide behind products. Weight gradients, which
// nobody waits for, are put off until a collective is under way that the next layer's gradient waits for; what only
// they need (the gather of their input anew) runs behind it. Runs after assign_lanes; changes no bit.
Graph overlap_communication(Graph graph);

// Adds the waits between lanes that reads and writes of values and states demand. Runs after everything that orders
// nodes or shares their bytes. Within a lane order is enough; a lane is waited for at its latest node.
Graph add_waits(Graph graph);

}  // namespace trine
