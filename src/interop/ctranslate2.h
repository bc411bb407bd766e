// Reads Transformer models in CTranslate2's format, binary versions 2 to 6 (little-endian):
//   u32 version · string spec · u32 revision · u32 count
//   count times: string name · u8 rank · u32 dims[rank]
//                · to version 3: u8 bytes an item, u32 items; from 4: u8 type, u32 bytes
//                · the data, row-major
//   from version 3: u32 count · count times: string alias, string name
// where a string is u16 length with its final NUL, then the bytes; types are 0 f32, 1 i8, 2 i16, 3 i32, 4
// f16, 5 bf16. i8 and i16 weights come back as floats: value / scale, with NAME_scale [rows] or one number.
// Every size is compared with what is left of the file before memory is taken for it.
#pragma once
#include <map>
#include <string>
#include <string_view>

#include "nn/config.h"
#include "nn/weights.h"
#include "text/vocabulary.h"

namespace floe {

struct Ct2File {
  int version = 0;
  std::string spec;
  int revision = 0;
  Weights tensors;  // floats and quantized weights as f32, without the scales; other integers as i32
  std::map<std::string, std::string> aliases;  // other names of tensors
};

// `file` stands for the file in messages. Throws Error{user} naming the file and the tensor that is damaged,
// too long for the file, of an unknown type, or given twice.
Ct2File parse_ctranslate2(std::string_view bytes, std::string_view file);

struct Ct2Model {
  ModelConfig config;
  Weights weights;  // under Floe's names (nn/weights.h), tables included
};

// Vocabulary sizes come from the embeddings. Throws Error{user} naming the tensor that is missing or does not
// fit, or the feature that Floe has no layer for (relative positions, ALiBi, factors).
Ct2Model model_of(Ct2File file, std::string_view name);

struct Ct2Folder {
  Ct2Model model;
  Vocabulary source;
  Vocabulary target;
};
// model.bin with source_vocabulary.txt and target_vocabulary.txt, or shared_vocabulary.txt. Where a
// vocabulary has one token fewer than its embedding, <unk> is added at its end.
Ct2Folder load_ctranslate2(const std::string& folder);

}  // namespace floe
