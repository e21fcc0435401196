// Plans, embeds a FASTA file in shards and merges them, in the form of nf-core's modules of 2026.
//
//   esm-embed template nextflow --out modules/local/esmembed
//
// writes this file, environment.yml, meta.yml and tests/. `esm-embed template nextflow` prints this file.
//
// NOT EXECUTED: the commands are those of the templates for SLURM and Snakemake, which are tested, but the
// Nextflow code around them is not, nor are its tests. Please report what has to be changed.
//
//   include { ESMEMBED } from './modules/local/esmembed/main'
//   workflow {
//       ESMEMBED(Channel.of([[id: 'proteome'], file('proteins.fasta')]), '/shared/esm2_t33_650M_UR50D', 8)
//   }
//
// Nextflow retries a task in a new work folder, so a stopped shard starts from the beginning: choose
// shards of an hour or two. Put options of `esm-embed run` into ext.args of ESMEMBED_SHARD, and those that
// say how records are treated (--long, --gaps, --unknown, --on-invalid, --on-duplicate-id) into ext.args of
// ESMEMBED_PLAN, too. A run that a signal stopped has an exit status of 130 to 145, which nf-core retries.
//
// For GPUs, set `accelerator = 1` for ESMEMBED_SHARD. The program in both containers is the same; that for
// GPUs holds CUDA's cuBLASLt beside it. Build them with `esm-embed template docker`.

process ESMEMBED_PLAN {
    tag "${meta.id}"
    label 'process_low'

    conda "${moduleDir}/environment.yml"
    container "esm-embed:0.2.0"

    input:
    tuple val(meta), path(fasta)
    val model
    val shards

    output:
    tuple val(meta), path("${prefix}.plan"), emit: plan
    tuple val("${task.process}"), val('esm-embed'), eval("esm-embed --version | sed 's/.* //'"), topic: versions, emit: versions_esmembed

    when:
    task.ext.when == null || task.ext.when

    script:
    def args = task.ext.args ?: ''
    prefix = task.ext.prefix ?: "${meta.id}"
    """
    esm-embed plan ${fasta} \\
        --model ${model} \\
        --shards ${shards} \\
        --out ${prefix}.plan \\
        --rewrite \\
        ${args}
    """

    stub:
    prefix = task.ext.prefix ?: "${meta.id}"
    """
    mkdir ${prefix}.plan
    touch ${prefix}.plan/plan.json
    """
}

process ESMEMBED_SHARD {
    tag "${meta.id} ${shard}/${shards}"
    label 'process_high'

    conda "${moduleDir}/environment.yml"
    container "${task.accelerator ? 'esm-embed:0.2.0-cuda' : 'esm-embed:0.2.0'}"

    input:
    tuple val(meta), path(fasta), path(plan), val(shard), val(shards)
    val model

    output:
    tuple val(meta), path("${prefix}.${shard}-of-${shards}"), emit: shard
    tuple val("${task.process}"), val('esm-embed'), eval("esm-embed --version | sed 's/.* //'"), topic: versions, emit: versions_esmembed

    when:
    task.ext.when == null || task.ext.when

    script:
    def args = task.ext.args ?: ''
    def device = task.accelerator ? 'cuda' : 'cpu'
    prefix = task.ext.prefix ?: "${meta.id}"
    """
    # 3: done; records were skipped, as requested, and skipped.tsv lists them.
    esm-embed run ${fasta} \\
        --plan ${plan} \\
        --shard ${shard}/${shards} \\
        --model ${model} \\
        --device ${device} \\
        --out ${prefix}.${shard}-of-${shards} \\
        --threads ${task.cpus} \\
        ${args} || [ \$? -eq 3 ]
    """

    stub:
    prefix = task.ext.prefix ?: "${meta.id}"
    """
    mkdir ${prefix}.${shard}-of-${shards}
    touch ${prefix}.${shard}-of-${shards}/run.json
    """
}

process ESMEMBED_MERGE {
    tag "${meta.id}"
    label 'process_low'

    conda "${moduleDir}/environment.yml"
    container "esm-embed:0.2.0"

    input:
    tuple val(meta), path(parts)

    output:
    tuple val(meta), path("${prefix}"), emit: embeddings
    tuple val("${task.process}"), val('esm-embed'), eval("esm-embed --version | sed 's/.* //'"), topic: versions, emit: versions_esmembed

    when:
    task.ext.when == null || task.ext.when

    script:
    def args = task.ext.args ?: ''
    prefix = task.ext.prefix ?: "${meta.id}"
    """
    esm-embed merge ${parts} --out ${prefix} ${args}
    """

    stub:
    prefix = task.ext.prefix ?: "${meta.id}"
    """
    mkdir ${prefix}
    touch ${prefix}/run.json
    """
}

workflow ESMEMBED {
    take:
    fasta  // channel: [ val(meta), path(fasta) ]
    model  // value: a folder that every node can read, or a name
    shards // value: number of shards

    main:
    ESMEMBED_PLAN(fasta, model, shards)
    parts = fasta
        .join(ESMEMBED_PLAN.out.plan)
        .combine(Channel.of(1..shards))
        .map { meta, file, plan, shard -> [meta, file, plan, shard, shards] }
    ESMEMBED_SHARD(parts, model)
    ESMEMBED_MERGE(ESMEMBED_SHARD.out.shard.groupTuple(size: shards))

    emit:
    embeddings = ESMEMBED_MERGE.out.embeddings
}
