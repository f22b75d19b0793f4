// What a plan looks like before anything runs: the --print flags and --dry-run.
#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <ostream>
#include <string>

#include "plan/plan.h"

namespace trine {

std::string print_plan(const Plan& plan);      // --print-plan: the passes, the schedule, sizes
std::string print_memory(const Plan& plan);    // --print-memory: a summary, then by pipeline rank the table by name
std::string print_graph(const Plan& plan);     // --print-graph
std::string print_schedule(const Plan& plan);  // --print-schedule: who works when, and each rank's actions
void print_program(const Plan& plan, std::ostream& out);  // --print-program: a training step, by command
std::string print_dry_run(const Plan& plan);              // --dry-run
nlohmann::ordered_json dry_run_json(const Plan& plan);    // --dry-run --json: the same numbers

// --print-schedule's picture: an SVG document, with stages as long as their FLOPs say.
std::string schedule_picture(const Plan& plan);
// Where it goes: the folder of --out, else the current one (resolve() leaves --out at "." for who only looks).
std::filesystem::path schedule_picture_path(const Config& config);

// Prints all that the configuration wants to look at, and writes the picture of the schedule. DataError if that
// can not be written.
void print_report(const Plan& plan, std::ostream& out);

}  // namespace trine
