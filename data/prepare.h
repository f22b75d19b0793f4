// Text of any size to token files, in bounded memory: what the program prepare_data does.
#pragma once

#include <cstdio>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "data/prepared_info.h"
#include "data/text_format.h"
#include "data/tokenizer.h"

namespace trine {

// `texts`: JSON lines have one document per line, in its field "text" (blank lines are skipped); any other file is
// one document, "-" is standard input; gzip is unpacked. Every document ends with the tokenizer's end-of-document
// id; empty ones are left out. Line length is limited to 256 MiB. A document above 256 KiB is encoded in pieces,
// cut where a line begins: bytes and LLaMA-3 give the same ids as in one piece,
// others may differ by a token at a cut.
struct PrepareRequest {
  std::vector<std::string> texts;
  std::filesystem::path out;  // PREFIX of -train.{bin,idx}, -valid.{bin,idx} and .json
  double valid_fraction = 0.05;
  TextFormat format = TextFormat::kAuto;  // of all texts; kAuto looks at each one's name and contents
  bool skip_bad_lines = false;            // of JSON lines: they are counted, not an error
};

struct PrepareProgress {
  int64_t bytes = 0, total_bytes = 0;  // of the files; the total is 0 if standard input is among the texts
  int64_t tokens = 0, documents = 0;
};

// Everything appears under its final name at the end or not at all. DataError for text that cannot be read (with
// file:line for JSON lines), for the disk, and for a tokenizer without an end-of-document id; ConfigError if a file
// would be replaced that is none of prepare_data's.
PreparedInfo prepare(const PrepareRequest& request, const Tokenizer& tokenizer, std::FILE* standard_input,
                     const std::function<void(const PrepareProgress&)>& progress = {});

}  // namespace trine
