#pragma once
/// hub: Hugging Face folders, read and written by slab. Names and shapes come from the rows of the parameter
/// table, never from a second list.
///
///   safetensors.h         one file: its header checked before it is believed, slabs of its tensors
///   safetensors_header.h  that header, both ways
///   folder.h              the files of a folder as one set of tensors; does it fit a model
///   weights.h             parameters by slab from any place; into this rank's shards
///   model_source.h        what commands call MODEL: a folder or a checkpoint; import
///   adapter_source.h      an adapter: a folder as PEFT writes it, or a checkpoint
///   merged_weights.h      a model's parameters with an adapter taken in
///   file_plan.h           where each byte of a written folder lies
///   write.h               writing a folder on all ranks; export
#include "hub/adapter_source.h"
#include "hub/file_plan.h"
#include "hub/folder.h"
#include "hub/merged_weights.h"
#include "hub/model_source.h"
#include "hub/safetensors.h"
#include "hub/weights.h"
#include "hub/write.h"
