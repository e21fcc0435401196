//! Every promise of this program, and the tests that hold it.
//!
//! Tests are named `file::function`; a unit test checks that each of them exists. What no test can
//! cover where this is built is listed at the end.
//!
//! # Exactness
//!
//! - Every layer has fair-esm's numbers, for every head width, ESM-1b and ESM-1v, on every CPU
//!   path: largest difference 2e-5 on values of the order of 1, relative L2 2e-6.
//!   `tests/run/parity.rs::every_model_equals_fair_esm_on_every_path`
//! - Every layout of a checkpoint gives the numbers of its model.
//!   `tests/run/parity.rs::every_layout_gives_the_numbers_of_its_model`
//! - Every layer of ESM C has transformers' numbers, within the same bounds, in all four layouts in use and
//!   on every CPU path; its logits and attention maps too.
//!   `tests/run/esm_c.rs::every_layer_equals_transformers_on_every_path`,
//!   `tests/run/esm_c.rs::every_layout_gives_the_numbers_of_its_model`,
//!   `tests/run/esm_c.rs::logits_of_64_tokens_equal_transformers_in_every_layout`,
//!   `tests/run/esm_c.rs::attention_maps_equal_transformers`
//! - So it does on a GPU in f32, and within 5e-3 in f16 and 3e-2 in bf16.
//!   `tests/cuda/embedder.rs::gpu_numbers_are_those_of_fair_esm`,
//!   `tests/cuda/embedder.rs::gpu_bits_are_the_same_in_any_batch`
//! - Logits, contacts and attention maps have fair-esm's numbers on every CPU path: 2e-5 of the largest
//!   logit, 1e-5 of a probability.
//!   `tests/run/logits.rs::logits_equal_fair_esm_on_every_path`,
//!   `tests/run/maps.rs::maps_and_contacts_equal_fair_esm_on_every_path`
//! - SaProt has transformers' numbers too, one row for each pair of an amino acid and a structure letter;
//!   anything else is an error with the remedy, in a run and from a server.
//!   `tests/run/saprot.rs::every_layer_equals_transformers_on_every_path`,
//!   `tests/run/saprot.rs::logits_of_446_tokens_and_attentions_equal_transformers`,
//!   `tests/run/saprot.rs::the_file_for_fair_esm_gives_the_numbers_of_the_folder`,
//!   `tests/run/saprot.rs::sequences_that_are_no_pairs_name_file_line_record_and_remedy`,
//!   `tests/serve/models.rs::pairs_of_saprot_have_the_bits_of_run`,
//!   `tests/serve/models.rs::sequences_without_structure_letters_are_refused_with_the_remedy`
//! - A LoRA adapter gives PEFT's numbers in every layer and in the logits, of ESM-2 and of ESM C; other
//!   kinds of adapters and adapters of another model are errors that name them. A server has the bits of a run.
//!   `tests/run/adapters.rs::every_layer_has_the_numbers_of_peft`,
//!   `tests/run/adapters.rs::logits_have_the_numbers_of_peft`,
//!   `tests/serve/models.rs::an_adapter_has_the_bits_of_run`,
//!   `tests/checkpoint/adapters.rs::other_kinds_are_refused_by_name`,
//!   `tests/checkpoint/adapters.rs::an_adapter_of_another_model_names_both_shapes`
//! - A run records the files of its adapter, and is not resumed or merged with another adapter.
//!   `tests/run/adapters.rs::the_base_is_the_model_else_what_the_adapter_names`,
//!   `tests/run/adapters.rs::another_adapter_is_not_resumed_or_merged`
//! - An adapter of the Hub is that of its folder, with the base that it names or another one; downloads, cache
//!   and `fetch` treat it as a model. A repository that holds complete weights too is those weights, and its
//!   adapter where that is asked for.
//!   `tests/hub/adapters.rs::as_model_and_as_adapter_it_gives_the_bytes_of_its_folder`,
//!   `tests/hub/adapters.rs::fetch_brings_the_base_too_and_checks_both_without_a_network`,
//!   `tests/hub/adapters.rs::a_repository_with_both_is_its_model_and_its_adapter_if_that_is_asked_for`
//! - Each layer of a stack has the bytes of the array of that layer.
//!   `tests/run/stacked.rs::each_layer_of_the_stack_has_the_bytes_of_its_array`
//! - One residue is one token is one row, from the first residue to the last. Means are the means
//!   of those rows.
//!   `tests/run/written.rs::means_are_the_means_of_the_rows_and_bos_is_not_among_them`
//! - Nothing is truncated, windowed, replaced or skipped unless you ask for it, and then
//!   `index.tsv` or `skipped.tsv` says so.
//!   `tests/run/long.rs::rotary_models_embed_long_sequences_whole_with_one_warning`,
//!   `tests/run/numbers.rs::learned_positions_with_records_skipped`
//! - White space and invisible characters are never residues. Gaps, masks and nucleotides are
//!   reported.
//!   `tests/run/residues.rs::white_space_and_invisible_characters_of_unicode_are_dropped`,
//!   `tests/run/residues.rs::gaps_are_kept_counted_and_warned_about`,
//!   `tests/run/residues.rs::nucleotides_are_warned_about_before_the_work_and_recorded`
//! - Records that share an id but not a sequence are reported.
//!   `tests/run/ids.rs::an_id_with_different_sequences_is_warned_about`
//! - `dtype=f16` on a CPU stays within 1e-3 of f32.
//!   `tests/run/parity.rs::fixed_point_arithmetic_stays_near_f32`,
//!   `tests/run/esm_c.rs::fixed_point_stays_near_f32`
//! - NaN and infinities end a run; they are never written.
//!   `tests/run/failing_work.rs::a_value_too_large_for_f16_ends_the_run`
//! - On a GPU, a record that overflows f16 is computed in bf16, or in f32 on a GPU without bf16, and
//!   `run.json` counts it.
//!   `tests/cuda/gpu/overflow.rs::records_that_overflow_f16_are_computed_in_bf16_and_no_others`,
//!   `tests/cuda/machine/turing.rs::records_that_overflow_f16_are_computed_in_f32`
//!
//! # Determinism
//!
//! - A sequence has the same bits by itself, in any batch, at any position, with any number of
//!   threads, and with `deterministic`.
//!   `tests/run/same_bits.rs::any_batch_gives_the_bits_of_one_sequence_at_a_time`
//! - So does a record so long that all threads share it.
//!   `tests/run/same_bits.rs::a_long_record_has_the_same_bits_from_one_two_and_three_threads`
//! - And on any CPU: AVX-512, AVX2, NEON and portable code give the same files.
//!   `tests/run/any_cpu.rs::any_batch_on_any_cpu_path_gives_the_same_files`,
//!   `tests/run/committed_bits.rs::short_records_have_the_committed_bits_on_every_path`,
//!   `tests/run/committed_bits.rs::long_records_have_the_committed_bits_on_every_path`,
//!   `tests/run/reports.rs::doctor_prints_the_bits_of_this_version`
//! - Shards and parts of a run that were computed on different kinds of CPUs give the files of one.
//!   `tests/run/any_cpu.rs::a_job_array_on_different_paths_merges_to_the_files_of_one_run`,
//!   `tests/faults/other_path.rs::a_run_is_resumed_on_any_path_to_the_same_bytes`
//! - Logits that a GPU computes have the same bits in any batch, and numbers close to the CPU's.
//!   `tests/cuda/gpu/logits.rs::they_have_the_same_bits_in_any_batch`,
//!   `tests/cuda/gpu/logits.rs::they_are_close_to_those_of_the_cpu`
//! - The bits of a GPU and those of 0.1.0 are not mixed with them.
//!   `tests/cuda/machine/gpus.rs::shards_of_a_gpu_and_of_a_cpu_are_not_merged`,
//!   `tests/run/earlier_versions.rs::they_are_not_mixed_with_those_of_this_version`
//! - The same input, model and options give the same files, byte for byte.
//!   `tests/run/same_bytes.rs::every_file_is_the_same_with_packed_residues`,
//!   `tests/run/same_bytes.rs::every_file_is_the_same_with_residue_files`
//! - The order of the records changes no bit.
//!   `tests/run/same_bytes.rs::the_order_of_the_records_changes_no_bit`
//! - All of this holds for logits, contacts and attention maps.
//!   `tests/run/map_files.rs::shards_and_any_batch_give_the_bytes_of_one_run`,
//!   `tests/run/map_files.rs::the_order_of_the_records_changes_no_bit`
//!
//! # Atomicity
//!
//! - A folder with `run.json` is complete. One without it is not, whatever else it holds.
//!   `tests/output/written.rs::without_finish_nothing_looks_complete`,
//!   `tests/faults/injected.rs::killed_at_each_call_with_packed_residues`,
//!   `tests/faults/injected.rs::killed_at_each_call_with_residue_files`,
//!   `tests/faults/injected.rs::killed_at_each_call_with_logits_contacts_and_attentions`
//! - The same holds for what `merge` makes, and until that is complete, no shard has lost
//!   anything.
//!   `tests/faults/merge.rs::killed_at_each_call`,
//!   `tests/faults/merge.rs::failed_at_each_call`
//! - Shards of a plan merge to the bytes of one run, and no sequence is in two of them. Another file than
//!   the planned one, and a damaged plan, are refused.
//!   `tests/run/planned_shards.rs::shards_of_a_plan_merge_to_the_bytes_of_a_single_run`,
//!   `tests/run/planned_shards.rs::bgzip_is_read_by_its_blocks_and_other_compression_is_written_again`,
//!   `tests/run/planned_shards.rs::another_file_than_the_planned_one_is_refused`,
//!   `tests/run/planned_shards.rs::a_file_that_was_copied_moved_or_touched_is_the_planned_one`,
//!   `tests/run/planned_shards.rs::a_copy_in_the_plan_that_is_lost_or_changed_is_named`,
//!   `tests/faults/plan.rs::a_damaged_or_incomplete_plan_is_refused`
//! - A folder with `plan.json` is a plan; killed at any moment, planning leaves none or a whole one.
//!   `tests/faults/plan.rs::planning_killed_at_each_call`,
//!   `tests/faults/plan.rs::killed_at_each_call_while_another_plan_is_replaced`,
//!   `tests/faults/plan.rs::planning_failed_at_each_call`,
//!   `tests/faults/plan.rs::a_plan_that_does_not_fit_is_refused_before_anything_is_written`,
//!   `tests/faults/plan.rs::the_work_of_a_run_is_not_discarded`
//! - What `known` copies from other folders has the bytes of computing, also after a kill; what differs is
//!   named, and damage is an error and does not spread.
//!   `tests/run/known.rs::copies_have_the_bytes_of_computing`,
//!   `tests/run/known.rs::what_differs_is_named`,
//!   `tests/run/known.rs::damage_does_not_spread`,
//!   `tests/faults/known.rs::killed_while_copying_and_resumed_to_the_same_bytes`
//! - A linked folder has the tables of the whole, byte for byte, and is read as the whole; its merge is the
//!   whole. A shard that was moved, removed or written again since is named before anything is read.
//!   `tests/run/linked.rs::its_tables_are_those_of_the_whole_and_its_arrays_are_elsewhere`,
//!   `tests/run/linked.rs::every_command_reads_it_as_the_whole`,
//!   `tests/run/linked.rs::a_merge_of_it_copies_the_arrays`,
//!   `tests/run/linked.rs::more_shards_are_merged_than_files_may_be_open`,
//!   `tests/run/linked.rs::more_shards_are_read_than_files_may_be_open`,
//!   `tests/run/linked.rs::a_shard_that_was_moved_or_changed_is_named`
//! - `status` says what a folder is whenever it looks: a killed shard is never done or running, and no clock
//!   of another machine makes it so; the last error of a shard stays until it is resumed.
//!   `tests/faults/status.rs::killed_at_any_moment_a_shard_is_never_called_done_or_running`,
//!   `tests/faults/status.rs::the_times_of_files_do_not_matter_where_the_lock_is_seen`,
//!   `tests/faults/status.rs::of_two_tasks_for_one_shard_the_second_is_refused_and_leaves_no_trace`,
//!   `tests/faults/status.rs::a_stop_and_a_failure_are_told_until_the_run_is_resumed`,
//!   `tests/run/status.rs::shards_that_do_not_belong_together_are_not_called_complete`
//! - An existing output is not touched without `force`, and stays intact until the run that
//!   replaces it has succeeded.
//!   `tests/run/existing_output.rs::an_output_is_refused_and_untouched_without_force`,
//!   `tests/run/existing_output.rs::a_failed_run_leaves_the_old_output_intact_even_with_force`
//! - `force` removes the files of the old run and no others.
//!   `tests/run/existing_output.rs::force_replaces_the_files_of_the_old_run_and_no_others`
//! - Two runs never write to one folder at the same time.
//!   `tests/output/existing.rs::a_second_run_in_the_same_folder_is_refused`
//!
//! # Durability
//!
//! - A run killed at any moment can be resumed, and ends with the files of an undisturbed run.
//!   `tests/faults/killed.rs::killed_at_sixty_moments_and_again_while_resuming`,
//!   `tests/faults/killed.rs::a_killed_run_with_stacked_layers_is_resumed_to_the_same_bytes`
//! - So can a shard of a plan.
//!   `tests/faults/plan.rs::a_shard_of_a_plan_killed_at_each_call`,
//!   `tests/faults/plan.rs::killed_shards_of_a_plan_merge_to_the_bytes_of_a_single_run`
//! - So can `score`.
//!   `tests/faults/score.rs::killed_at_each_call`
//! - Only the batches being computed are lost.
//!   `tests/faults/killed.rs::only_the_current_batch_is_lost`
//! - Work that the journal does not prove is computed again.
//!   `tests/faults/damaged.rs::flipped_bits_in_the_journal`,
//!   `tests/faults/damaged.rs::rows_changed_since_they_were_written`
//! - A run is not resumed with another input, model or options; the difference is named.
//!   `tests/faults/refused.rs::each_option_that_changes_a_byte_is_refused`,
//!   `tests/faults/refused.rs::another_input`
//! - Nor with less memory than one of its records needs. With more memory it ends with the same
//!   bytes.
//!   `tests/faults/memory_changed.rs::less_memory_is_refused_only_if_a_record_needs_it`,
//!   `tests/faults/memory_changed.rs::more_memory_changes_nothing`
//! - A full disk, an exceeded quota, a failing disk and a vanished folder end a run with an error
//!   and status 1; once there is space, it can be resumed.
//!   `tests/faults/full_disk.rs::a_full_file_system_at_any_page`,
//!   `tests/faults/full_disk.rs::a_full_file_system`,
//!   `tests/faults/full_disk.rs::no_space_for_the_identifiers_of_many_records`,
//!   `tests/faults/full_disk.rs::a_folder_that_vanishes`,
//!   `tests/faults/injected.rs::failed_at_each_call`,
//!   `tests/faults/injected.rs::failed_at_each_call_with_residue_files`,
//!   `tests/faults/injected.rs::failed_at_each_open`
//! - Short and interrupted writes are continued.
//!   `tests/faults/short_writes.rs::short_and_interrupted_writes`
//! - SIGTERM, SIGINT, SIGUSR1 and SIGHUP save the finished work and end the run with 128 + the
//!   signal's number, even while the input stalls; a second signal ends it at once. A SIGHUP that
//!   is ignored at the start, as under nohup, stays ignored.
//!   `tests/faults/signals.rs::each_signal_ends_a_stalled_stream_with_its_code`,
//!   `tests/faults/signals.rs::a_named_pipe_that_stalls`,
//!   `tests/faults/signals.rs::a_long_record_is_abandoned_and_a_second_signal_ends_at_once`,
//!   `tests/faults/signals.rs::an_ignored_sighup_stays_ignored`
//! - `inspect` finds changed, missing and swapped files of an output.
//!   `tests/output/inspected.rs::a_changed_value_is_found_by_its_checksum`
//!
//! # Resources
//!
//! - Memory grows by at most five bytes for each record, and no further beyond 60 million.
//!   `tests/fasta/readers.rs::a_million_records_reuse_one_buffer`,
//!   `tests/run/giants.rs::many_records_of_one_residue`,
//!   `src/output/disk_map/tests.rs::memory_is_bounded`
//! - Nor with the length of a line, a header or an identifier.
//!   `tests/run/giants.rs::a_line_larger_than_memory`,
//!   `tests/run/giants.rs::a_header_larger_than_memory`,
//!   `tests/run/giants.rs::many_one_megabyte_identifiers`
//! - A record that does not fit in memory is named before any work, or skipped on request.
//!   `tests/run/memory_limit.rs::a_record_too_large_is_named_before_any_work`,
//!   `tests/run/memory_limit.rs::a_record_too_large_is_skipped_and_the_rest_is_embedded`
//! - A run uses no more threads than affinity and scheduler allow.
//!   `tests/run/threads.rs::affinity_and_scheduler_limit_the_threads`
//! - Weights are held in memory once, and take address space (`ulimit -v`) once.
//!   `tests/run/memory_limit.rs::weights_take_address_space_once`
//! - A damaged checkpoint is an error before memory is allocated for the lengths it states.
//!   `tests/checkpoint/damaged_safetensors.rs::lengths_are_checked_against_the_file`
//! - Compressed input cannot expand beyond the bound of one record.
//!   `tests/fasta/bounds.rs::a_gzip_bomb_is_one_record_too_long`,
//!   `tests/run/giants.rs::a_gzip_bomb`
//!
//! # Hostile input
//!
//! - Identifiers cannot name paths: no separator, device name, dot or letter case reaches outside
//!   the folder or into another record's file.
//!   `tests/run/written.rs::identifiers_unfit_as_file_names_get_safe_ones`,
//!   `tests/run/identifiers.rs::hostile_identifiers_in_both_layouts`
//! - Links that somebody planted in the folder are not followed.
//!   `tests/output/existing.rs::links_are_not_followed`,
//!   `tests/faults/damaged.rs::planted_links_are_not_followed`,
//!   `tests/faults/merge.rs::planted_links_and_foreign_files`
//! - Files of another user are neither touched nor followed.
//!   `tests/faults/other_users.rs::files_owned_by_another_user`
//! - A checkpoint runs no code.
//!   `tests/checkpoint/damaged_torch.rs::a_pickle_that_names_code_is_refused_and_runs_nothing`
//! - A tensor that ESM C needs and a checkpoint lacks is an error that names it.
//!   `tests/checkpoint/esm_c.rs::a_missing_tensor_is_named`
//! - BioNeMo's `.nemo` has the weights of the model that it was made from; nothing is unpacked under a name
//!   that the archive gives, and other models of NeMo are refused by name.
//!   `tests/checkpoint/nemo.rs::every_weight_is_that_of_the_model_it_was_made_from`,
//!   `tests/checkpoint/nemo.rs::hostile_archives_are_errors`,
//!   `tests/checkpoint/nemo.rs::other_models_of_nemo_are_refused_by_name`
//! - Adapters, `.nemo` and every layout of ESM C that are truncated, altered or state absurd sizes are errors
//!   that take little memory; NaN in them names the tensor and the file.
//!   `tests/checkpoint/mutated.rs::a_file_cut_anywhere_is_an_error`,
//!   `tests/checkpoint/mutated.rs::a_mutated_file_opens_or_is_refused_in_a_sentence`,
//!   `tests/checkpoint/mutated.rs::numbers_that_are_not_finite_name_tensor_and_file`,
//!   `tests/checkpoint/adapters.rs::a_damaged_adapter_names_its_tensor_and_file`,
//!   `tests/checkpoint/esm_c.rs::values_that_are_not_finite_are_found_in_every_part_of_a_fused_tensor`
//! - A truncated or altered checkpoint is an error, not a panic.
//!   `tests/checkpoint/damaged_safetensors.rs::a_file_cut_at_any_byte_is_an_error`,
//!   `tests/checkpoint/damaged_torch.rs::a_file_cut_anywhere_is_an_error`
//! - So is one that is shortened or written to while it is read.
//!   `tests/checkpoint/files.rs::a_file_shortened_while_it_is_read_is_an_error`
//! - A remembered checksum of a checkpoint is used only for the file it was computed from, and
//!   only until anything about that file changes, including permissions and times.
//!   `tests/run/checksum_cache.rs::a_checksum_is_reused_until_the_file_changes`
//! - Truncated or damaged input, and input in another format or encoding, is named with file and
//!   line.
//!   `tests/fasta/compressed.rs::gzip_cut_anywhere_is_an_error`,
//!   `tests/fasta/other_formats.rs::other_formats_are_named`,
//!   `tests/fasta/other_formats.rs::wide_encodings_are_named`
//! - A file that changes while it is read is noticed, and finished work can be resumed with the
//!   original file.
//!   `tests/fasta/files.rs::a_file_that_changes_while_it_is_read_is_an_error`,
//!   `tests/faults/changed_input.rs::a_file_that_grows_shrinks_or_is_replaced_while_it_is_read`
//! - Messages hold no control characters from the input.
//!   `tests/run/streams.rs::errors_hold_no_control_characters`,
//!   `tests/run/written.rs::a_log_holds_only_lines_of_text`
//!
//! # The server
//!
//! - An answer has the bits of `run`, whatever else is asked at the same time, in every dialect.
//!   `tests/serve/same_bits.rs::sixteen_clients_get_the_bits_of_run_in_any_dialect_order_and_load`,
//!   `tests/serve/same_bits.rs::layers_and_pools_are_those_of_run`,
//!   `tests/serve/same_bits.rs::sequences_in_windows_and_truncated_ones_have_the_bits_of_run`
//! - Nothing is truncated or normalized unless a request asks for it, and the answer says what was done
//!   to a sequence.
//!   `tests/serve/dialects.rs::notes_say_what_was_done_to_a_sequence`,
//!   `tests/serve/dialects.rs::rows_are_normalized_only_on_request`
//! - A client that is slow, silent or gone holds up nobody, and its work is given up.
//!   `tests/serve/bodies.rs::slow_and_half_open_connections_hold_up_nobody`,
//!   `tests/serve/bodies.rs::a_client_that_does_not_read_holds_up_nobody`,
//!   `tests/serve/load.rs::a_pass_that_nobody_waits_for_ends_between_two_blocks`,
//!   `tests/serve/load.rs::clients_that_vanish_at_any_moment_leave_nothing_behind`
//! - What is too large or too much is refused at once, with a time to come back where that helps.
//!   `tests/serve/bodies.rs::a_body_that_is_too_large_is_refused_before_it_is_read`,
//!   `tests/serve/load.rs::a_full_queue_refuses_with_a_time_to_come_back`,
//!   `tests/serve/load.rs::a_request_is_given_up_at_its_deadline`,
//!   `tests/serve/http2.rs::calls_end_at_the_deadline_of_their_client`
//! - Requests share the memory for their bodies; what a body claims to hold takes none.
//!   `tests/serve/memory.rs::bodies_that_are_read_at_the_same_time_share_a_limit`,
//!   `tests/serve/memory.rs::short_elements_are_counted_before_they_are_made`,
//!   `tests/serve/memory.rs::bodies_that_are_given_up_are_free_again`
//! - Clients that take no answer keep nobody from being worked on, and lose their connection.
//!   `tests/serve/http2.rs::clients_that_take_no_answer_keep_nobody_from_being_worked_on`,
//!   `src/server/sent.rs::a_client_that_takes_nothing_loses_its_connection`
//! - Until the model is loaded, probes are refused at once, and requests wait.
//!   `src/server/http/tests.rs::probes_are_answered_at_once_while_the_model_is_loaded`,
//!   `src/server/http/tests.rs::requests_wait_for_the_model_for_a_while`
//! - No body makes the server panic.
//!   `src/server/dialect.rs::mutated_bodies_are_read_or_refused_in_a_sentence`,
//!   `tests/serve/http2.rs::frames_that_are_none_close_their_connection_only`
//! - The first SIGTERM finishes what is running within the grace time; the second ends at once.
//!   `tests/serve/ending.rs::the_first_signal_finishes_what_is_running_and_refuses_the_rest`,
//!   `tests/serve/ending.rs::a_second_signal_ends_at_once`,
//!   `tests/serve/grpc_stress.rs::idle_streams_of_tools_do_not_delay_the_end`
//! - Without the key, only probes and documents are answered, and nothing of a client reaches messages
//!   unescaped.
//!   `tests/serve/access.rs::without_the_key_only_probes_and_documents_are_answered`,
//!   `tests/serve/errors.rs::nothing_that_a_client_sends_reaches_messages_unescaped`
//!
//! # Without files
//!
//! - A list of sequences in memory, in Rust or Python, has the bits of the engine, whatever the batches
//!   and threads. The tests in `tests/python` compare Python's arrays with the files of the command.
//!   `src/session/tests.rs::a_list_has_the_bits_of_the_engine_whatever_the_threads_and_batches`
//! - The demo writes what a run over the fixtures writes, without a network or a file.
//!   `tests/run/carried.rs::a_demo_is_a_run_over_the_fixtures`,
//!   `tests/run/carried.rs::a_demo_is_exported_with_its_sequences`
//!
//! # What is made of an output folder
//!
//! - An export has the numbers of the folder, record by record; unit tests in `src/export/tests.rs`
//!   read every format back.
//!   `tests/run/export.rs::csv_has_the_numbers_of_the_array`,
//!   `tests/run/export.rs::every_format_is_written_and_reported`
//! - An export that is killed, or finds no space, leaves nothing at its place that is not complete; one that is
//!   stopped by a signal leaves nothing at all.
//!   `tests/faults/export.rs::h5_killed_at_each_call`,
//!   `tests/faults/export.rs::pt_killed_at_each_call`,
//!   `tests/faults/export.rs::a_disk_without_space_is_reported_once_and_leaves_nothing`,
//!   `tests/faults/export.rs::a_signal_ends_an_export_and_leaves_nothing`
//! - Exports and reports replace no device, pipe or folder, and no file of a run; two exports to one place
//!   do not mix.
//!   `tests/run/export.rs::only_files_are_replaced_and_none_of_a_run`,
//!   `tests/run/export.rs::two_exports_to_one_place_do_not_mix`
//! - Maps and reports are pages that need no network and have no path of this machine; the same folder
//!   gives the same bytes.
//!   `tests/run/plots.rs::a_map_has_a_page_a_table_and_a_bundle`,
//!   `tests/run/plots.rs::a_report_is_one_page`
//!
//! # Not tested
//!
//! A loss of power, network file systems, the published weights, and real processors other than
//! x86-64. A plain or zstd file that is truncated exactly between two records or frames cannot be
//! distinguished from a shorter file.

#[cfg(test)]
mod tests;
