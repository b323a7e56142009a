"""The namespaces of Microsoft's resource providers: what an action of a custom role may start with.

Azure refuses a custom role whose action is of no provider. Which operations each provider has is nowhere published as a whole, so only
the namespace is held against a list; namespaces of others than Microsoft are taken as they come.
"""

from __future__ import annotations

__all__ = ["is_known_namespace"]

_PREFIX = "microsoft."

_KNOWN = frozenset(
    """
    aad aadiam addons adhybridhealthservice advisor agfoodplatform agricultureplatform alertsmanagement analysisservices anybuild
    apicenter apimanagement app appassessment appcomplianceautomation appconfiguration applicationmigration appplatform
    appsecurity arcnetworking artifactsigning attestation authorization automanage automation autonomoussystems avs azureactivedirectory
    azurearcdata azuredatatransfer azurefleet azurelargeinstance azureplaywrightservice azurescan azuresphere azurestack
    azurestackhci azureterraform backupsolutions baremetalinfrastructure batch bing biztalkservices blockchain blueprint botservice
    cache capacity carbon cdn certificateregistration changeanalysis changesafety chaos classiccompute
    classicinfrastructuremigrate classicnetwork classicstorage classicsubscription cleanroom cloudhealth cloudtest codesigning
    codespaces cognitiveservices commerce communication community compute computeschedule confidentialledger confluent
    connectedcache connectedcredentials connectedopenstack connectedvehicle connectedvmwarevsphere consumption
    containerinstance containerregistry containerservice contentmoderator copilot cortanaanalytics cosmosdb costmanagement
    costmanagementexports customerlockbox customerinsights customproviders d365customerinsights dashboard databasefleetmanager
    databasewatcher databox databoxedge databricks datacatalog datacollaboration datafactory datalakeanalytics datalakestore
    datamigration dataprotection datareplication datashare dbformariadb dbformysql dbforpostgresql delegatednetwork
    dependencymap desktopvirtualization devcenter devhub deviceonboarding deviceregistry devices deviceupdate devopsinfrastructure
    devops devspaces devtestlab devtunnels digitaltwins discovery documentdb domainregistration domain dynamicstelemetry
    durabletask dynamics365fraudprotection edge edgemarketplace edgeorder edgezones education elastic elasticsan
    engagementfabric enterprisesupport entitlementmanagement eventgrid eventhub experimentation extendedlocation fabric fairfieldgardens
    falcon features fidalgo fileshares fluidrelay footprintmonitoring gallery genomics graph graphservices guestconfiguration
    hanaonazure hardwaresecuritymodules hdinsight healthbot healthcareapis healthcareinterop healthdataaiservices
    healthmodel healthplatform hpcworkbench hybridcloud hybridcompute hybridconnectivity hybridcontainerservice hybriddata
    hybridnetwork impact importexport industrydatalifecycle insights integrationspaces intelligentitdigitaltwin iotcentral
    iotfirmwaredefense iotoperations iotoperationsdataprocessor iotoperationsmq iotoperationsorchestrator iotsecurity
    keyvault kubernetes kubernetesconfiguration kubernetesruntime kusto labservices lab liftrpilot loadtestservice loadtesting
    logic logz logzapp machinelearning machinelearningcompute machinelearningmodelmanagement
    machinelearningservices maintenance managedidentity managednetworkfabric managedops managedservices management
    manufacturingplatform maps marketplace marketplaceapps marketplacenotifications marketplaceordering media messagingcatalog
    messagingconnectors metaverse migrate mission mixedreality mobilenetwork mobilepacketcore modsimworkbench monitor
    mysqldiscovery nettapp network networkanalytics networkcloud networkfunction nexusidentity notificationhubs
    nutanix nvidia objectstore offazure offazurespringboot onlineexperimentation openenergyplatform openlogisticsplatform
    operationalinsights operationsmanagement operatorvoicemail oraclediscovery orbital peering pki policyinsights portal
    portalservices powerbi powerbidedicated powerplatform private preview professionalservice programmableconnectivity
    providerhub purview quantum quota recommendationsservice recoveryservices redhatopenshift relationships relay resourceconnector
    resourcegraph resourcehealth resourcenotifications resources saas saashub scheduler scom scvmm search secretsynccontroller
    security securitycopilot securitydetonation securitydevops securityinsights sentinelplatformservices serialconsole
    serviceautomation servicebus servicefabric servicefabricmesh servicelinker servicenetworking serviceshub
    signalrservice singularity skytap softwareplan solutions sovereign sql sqlvirtualmachine standbypool
    startupsprogram storage storageactions storagecache storagediscovery storageimportexport storagemover storagepool storagesync
    storagetasks storsimple storagetables streamanalytics subscription sustainabilityservices support synapse syntex
    testbase timeseriesinsights toolchainorchestrator updatemanager usagebilling verifiedid videoindexer virtualmachineimages
    visualstudio vmware vmwarecloudsimple voiceservices vsonline web weightsandbiases windowsdefenderatp windows365 windowsesu
    windowsiot windowspushnotificationservices workloadbuilder workloadmonitor workloads zerotrustsegmentation
    """.split()
)


def is_known_namespace(namespace: str) -> bool:
    """Whether actions may start with this namespace, in any case."""
    name = namespace.lower()
    return name.removeprefix(_PREFIX) in _KNOWN if name.startswith(_PREFIX) else "." in name
