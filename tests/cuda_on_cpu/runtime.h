// What CUDA's runtime of this folder saw.
#pragma once

#include <cstdint>

namespace trine::on_cpu {

inline constexpr int kNumDevices = 2;

// Calls so far, by any thread, whose handle or memory belongs to another device than the thread's current one (the
// first, until it chooses: on a GPU such a call makes a second context there, or fails).
int64_t calls_on_wrong_device();

// Graphs that exist now, and their executable forms.
int64_t num_graphs();

}  // namespace trine::on_cpu
