// Embeds a FASTA file in shards and merges them, in the style of nf-core's modules. Printed by
// `esm-embed template nextflow`.
//
//   esm-embed template nextflow > modules/local/esmembed/main.nf
//
// NOT TESTED: the commands are those of the templates for SLURM and Snakemake, which are tested, but
// the Nextflow code around them is not. Please report what has to be changed.
//
//   include { ESMEMBED } from './modules/local/esmembed/main'
//   workflow {
//       ESMEMBED(Channel.of([[id: 'proteome'], file('proteins.fasta')]), '/shared/esm2_t33_650M_UR50D', 8)
//   }
//
// Nextflow retries a task in a new work folder, so a stopped shard starts from the beginning: choose
// shards of an hour or two. Put options of `esm-embed run` into ext.args of ESMEMBED_SHARD. A run that
// a signal stopped has an exit status of 130 to 145, which nf-core retries.

process ESMEMBED_SHARD {
    tag "${meta.id} ${shard}/${shards}"
    label 'process_high'

    input:
    tuple val(meta), path(fasta), val(shard), val(shards)
    val model

    output:
    tuple val(meta), path("${prefix}.${shard}-of-${shards}"), emit: shard
    path "versions.yml"                                     , emit: versions

    when:
    task.ext.when == null || task.ext.when

    script:
    def args = task.ext.args ?: ''
    prefix = task.ext.prefix ?: "${meta.id}"
    """
    # 3: done; records were skipped, as requested, and skipped.tsv lists them.
    esm-embed run ${fasta} \\
        --model ${model} \\
        --shard ${shard}/${shards} \\
        --out ${prefix}.${shard}-of-${shards} \\
        --threads ${task.cpus} \\
        ${args} || [ \$? -eq 3 ]

    cat <<-END_VERSIONS > versions.yml
    "${task.process}":
        esm-embed: \$(esm-embed --version | cut -d ' ' -f 2)
    END_VERSIONS
    """

    stub:
    prefix = task.ext.prefix ?: "${meta.id}"
    """
    mkdir ${prefix}.${shard}-of-${shards}
    touch ${prefix}.${shard}-of-${shards}/run.json

    cat <<-END_VERSIONS > versions.yml
    "${task.process}":
        esm-embed: \$(esm-embed --version | cut -d ' ' -f 2)
    END_VERSIONS
    """
}

process ESMEMBED_MERGE {
    tag "${meta.id}"
    label 'process_low'

    input:
    tuple val(meta), path(parts)

    output:
    tuple val(meta), path("${prefix}"), emit: embeddings
    path "versions.yml"               , emit: versions

    when:
    task.ext.when == null || task.ext.when

    script:
    def args = task.ext.args ?: ''
    prefix = task.ext.prefix ?: "${meta.id}"
    """
    esm-embed merge ${parts} --out ${prefix} ${args}

    cat <<-END_VERSIONS > versions.yml
    "${task.process}":
        esm-embed: \$(esm-embed --version | cut -d ' ' -f 2)
    END_VERSIONS
    """

    stub:
    prefix = task.ext.prefix ?: "${meta.id}"
    """
    mkdir ${prefix}
    touch ${prefix}/run.json

    cat <<-END_VERSIONS > versions.yml
    "${task.process}":
        esm-embed: \$(esm-embed --version | cut -d ' ' -f 2)
    END_VERSIONS
    """
}

workflow ESMEMBED {
    take:
    fasta  // channel: [ val(meta), path(fasta) ]
    model  // value: a folder that every node can read, or a name
    shards // value: number of shards

    main:
    parts = fasta
        .combine(Channel.of(1..shards))
        .map { meta, file, shard -> [meta, file, shard, shards] }
    ESMEMBED_SHARD(parts, model)
    ESMEMBED_MERGE(ESMEMBED_SHARD.out.shard.groupTuple(size: shards))

    emit:
    embeddings = ESMEMBED_MERGE.out.embeddings
    versions   = ESMEMBED_SHARD.out.versions.mix(ESMEMBED_MERGE.out.versions)
}
