// Manifests against the schemas of Kubernetes: node check.mjs FILE.yaml...
// Every document must be valid for kubernetes-models (types, required fields), and its literal must be of the type that
// kubernetes-types gives it, which refuses fields that are not there. Exit code 1: a sentence for each that is not.
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import yaml from 'js-yaml';

const require = createRequire(import.meta.url);
let wrong = 0, count = 0;
const lines = [];
for (const file of process.argv.slice(2)) {
  for (const document of yaml.loadAll(readFileSync(file, 'utf8'))) {
    const { apiVersion, kind } = document;
    const name = `${file}: ${kind} ${document.metadata?.name}`;
    count++;
    try {
      const Model = require(`kubernetes-models/${apiVersion}/${kind}`)[kind];
      new Model(document).validate();
    } catch (problem) {
      console.error(`${name}: ${problem.message}`);
      wrong = 1;
    }
    const [group, version] = apiVersion.includes('/') ? apiVersion.split('/') : ['core', apiVersion];
    const path = `${group.replace('.k8s.io', '')}/${version}`;
    lines.push(`import { ${kind} as K${count} } from 'kubernetes-types/${path}';`);
    lines.push(`export const d${count}: K${count} = ${JSON.stringify(document)}; // ${name}`);
  }
}
if (count === 0) {
  console.error('no documents');
  wrong = 1;
}
writeFileSync('documents.ts', lines.join('\n') + '\n');
try {
  execFileSync(process.execPath, [require.resolve('typescript/bin/tsc'), '--noEmit', '--strict', '--skipLibCheck', '--module', 'nodenext',
    '--moduleResolution', 'nodenext', 'documents.ts'], { stdio: 'pipe' });
} catch (problem) {
  console.error(problem.stdout.toString().replace(/'K\d+'/g, 'its type'));
  wrong = 1;
}
console.log(`${count} documents${wrong ? '' : ', all valid'}`);
process.exit(wrong);
