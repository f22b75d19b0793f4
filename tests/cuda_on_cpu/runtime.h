// What CUDA's runtime of this folder saw.
#pragma once

#include <cstdint>
#include <string>

namespace trine::on_cpu {

inline constexpr int kNumDevices = 2;

// Calls so far, by any thread, whose handle or memory belongs to another device than the thread's current one (the
// first, until it chooses: on a GPU such a call makes a second context there, or fails).
int64_t calls_on_wrong_device();

// CUDA_DEVICE_MAX_CONNECTIONS as it was at the first call of all, which is when CUDA reads it.
std::string connections_at_first_call();

// Graphs that exist now, and their executable forms.
int64_t num_graphs();
// Launches of graphs so far.
int64_t graphs_launched();

}  // namespace trine::on_cpu
